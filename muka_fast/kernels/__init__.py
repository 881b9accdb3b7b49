"""The operations of Monte-Carlo dropout: one a file, the PyTorch reference beside the Triton kernel.

* ``attention``: softmax attention over packed texts with dropout
* ``bias_gelu``: bias and GELU
* ``classifier_head``: the classifier's head for all passes of a text
* ``cls_attention``: attention of each text's first row only
* ``dropout_mask``: tiles of dropout masks on the device
* ``embedding_norm``: embedding normalisation and dropout
* ``launch_configs``: block sizes by architecture
* ``layout``: positions of rows and dropout decisions in packed batches
* ``philox``: dropout decisions from counters, in numpy
* ``residual_norm``: dropout, residual connection and normalisation

Imports numpy, torch and triton only.
"""
