"""Texts and labels.

* ``batching``: length-sorted batches under a token budget
* ``chunks``: whole rows, some at a time
* ``corpus``: texts with stable ids
* ``delimited``: the dialect of delimited text, and its rows
* ``encodings``: token ids of many texts in few arrays
* ``few_labels``: a few labelled texts beside the pool
* ``hub``: data sets of the Hugging Face hub
* ``label_names``: a teacher's label names from a file or a data set's features
* ``label_space``: the union of the teachers' labels
* ``near_names``: class names as words, and classes with nearly the same name
* ``predictions``: tables of a teacher's predictions
* ``readers``: files, folders and hub data sets as named columns
* ``sources``: the data files of a folder
* ``synthetic``: utterances in 32 classes from a grammar, without a download
* ``tables``: named columns, whose rows are read on demand
* ``text_column``: texts in a file as a sequence of strings
* ``text_files``: files decompressed and decoded
* ``tokenization``: texts to token ids and padded tensors
* ``writers``: rows with added columns, written in the format of a file's suffix
"""
