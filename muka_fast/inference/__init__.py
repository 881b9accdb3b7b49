"""From logits to predictions.

* ``base``: the protocol ``TextClassifier`` and what its implementations share
* ``classifier``: a transformers classifier on texts
* ``columns``: predictions as columns of a table
* ``output_names``: names of a model's outputs found by a few labelled texts
* ``predictions``: label, probability, entropy and energy from logits; calibration; numpy only
* ``temperature_folding``: a temperature divided into the last linear layer
"""
