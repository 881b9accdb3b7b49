"""Texts and labels.

* ``batching``: length-sorted batches under a token budget
* ``corpus``: texts with stable ids
* ``delimited``: the dialect of delimited text, and its rows
* ``few_labels``: a few labelled texts beside the pool
* ``label_space``: the union of the teachers' labels
* ``predictions``: tables of a teacher's predictions
* ``readers``: files, folders and hub data sets as named columns
* ``sources``: the data files of a folder
* ``synthetic``: utterances in 32 classes from a grammar, without a download
* ``text_files``: files decompressed and decoded
* ``tokenization``: texts to token ids and padded tensors
"""
