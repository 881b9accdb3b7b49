"""Hugging Face checkpoints on disk.

* ``adapter``: PEFT adapters, merged into their base model
* ``checkpoint``: folders found or downloaded, checked and fingerprinted
* ``deterministic_teacher``: what teachers without dropout passes have in common
* ``graph_teacher``: teachers that are ONNX graphs
* ``head``: what the outputs of a classifier are, and their names
* ``integrity``: output folders checked against their record
* ``loading``: configurations, tokenizers and weights, loaded and checked
* ``padding``: how texts are padded, so that each gets the logits that it gets alone
* ``pipeline_teacher``: teachers that are scikit-learn pipelines, read by skops
* ``plain_config``: guards against code from elsewhere and absurd sizes in a configuration
* ``predictions_teacher``: teachers that are tables of predictions
* ``requirements``: packages that a checkpoint needs
* ``sentence_encoder``: encoders in the layout of sentence-transformers, in memory
* ``sentence_layout``: what the modules of such a folder compute, read without importing what they name
* ``setfit_teacher``: teachers that are SetFit models
* ``student``: the student before training, with a new head
* ``teacher``: teachers described without their weights, and loaded
* ``unusable``: what a folder or file is that is no checkpoint, and what to do with it
"""
