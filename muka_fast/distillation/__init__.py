"""Weights to targets to a trained student."""
