"""Hugging Face checkpoints on disk.

* ``checkpoint``: folders found or downloaded, checked and fingerprinted
* ``integrity``: output folders checked against their record
* ``student``: the student before training, with a new head
* ``teacher``: teachers described without their weights, and loaded
"""
