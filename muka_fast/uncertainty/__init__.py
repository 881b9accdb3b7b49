"""Monte-Carlo dropout on one batch: dropout sites, passes, and signals."""
