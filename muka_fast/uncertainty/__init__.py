"""Monte-Carlo dropout: sites, passes, and the signals they give."""
