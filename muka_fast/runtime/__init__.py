"""This machine and its processes.

* ``arrays``: dataclasses of arrays in one file
* ``computed_rows``: rows of an array that are computed where they are read
* ``device``: the device of a run
* ``distributed``: the processes that share a run
* ``environment``: versions and devices
* ``files``: atomic writes, and what dead runs left
* ``integrity``: sizes and hashes of files
* ``launch``: the variables of a launcher
* ``library_messages``: transformers' warnings and bars off, and on again
* ``locks``: one writer per folder
* ``logs``: messages as records of ``logging``
* ``mapped``: arrays in files without a name
* ``memory``: memory of a finished stage freed
* ``notebook``: a line in a notebook that is written over
* ``numerics``: array functions that several rooms need; numpy only
* ``parsing``: JSON and YAML from files that may be damaged
* ``printable``: text from outside, safe to print
* ``progress``: progress and messages on stderr
* ``softmax_regression``: L2-regularised multinomial logistic regression, fitted by L-BFGS
* ``typed``: dataclasses from parsed JSON, types checked
"""
