"""Texts and labels: readers, corpus, label space, tokenization, batches."""
