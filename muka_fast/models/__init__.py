"""Hugging Face checkpoints on disk: teachers and the student."""
