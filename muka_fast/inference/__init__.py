"""Logits to predictions: a classifier, and what its logits mean."""
