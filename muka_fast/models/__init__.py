"""Hugging Face checkpoints on disk.

* ``checkpoint``: folders found or downloaded, checked and fingerprinted
* ``integrity``: output folders checked against their record
* ``plain_config``: guards against code from elsewhere and absurd sizes in a configuration
* ``predictions_teacher``: teachers that are tables of predictions
* ``student``: the student before training, with a new head
* ``teacher``: teachers described without their weights, and loaded
* ``unusable``: what a folder or file is that is no checkpoint, and what to do with it
"""
