"""Texts and labels: readers, corpus, label space, tokenization, batching, synthetic texts."""
