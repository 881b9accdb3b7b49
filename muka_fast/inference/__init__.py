"""Trained classifiers on texts: the protocol, predictions from logits, and the PyTorch classifier."""
