"""Texts and labels.

* ``batching``: length-sorted batches under a token budget
* ``corpus``: texts with stable ids
* ``label_space``: the union of the teachers' labels
* ``readers``: files, folders and hub data sets as named columns
* ``synthetic``: utterances in 32 classes from a grammar, without a download
* ``tokenization``: texts to token ids and padded tensors
"""
