"""This machine and its processes.

* ``arrays``: dataclasses of arrays in one file
* ``device``: the device of a run
* ``distributed``: the processes that share a run
* ``environment``: versions and devices
* ``files``: atomic writes
* ``memory``: memory of a finished stage freed
* ``numerics``: array functions that several rooms need; numpy only
* ``progress``: progress and messages on stderr
* ``softmax_regression``: L2-regularised multinomial logistic regression, fitted by L-BFGS
"""
