"""Scores to teacher weights: which teacher is in-domain for each text."""
