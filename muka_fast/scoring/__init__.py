"""Teachers over the pool, into the score store."""
