"""From teacher weights to training targets to a trained student.

* ``checkpointing``: which training a checkpoint belongs to, and how far it was
* ``dataset``: encoded texts with stored targets, the validation split, the length-grouped sampler
* ``head_init``: the linear probe that a new head starts from
* ``losses``: the distillation losses
* ``method``: the base class of the methods
* ``methods``: the methods, one file each
* ``microbatching``: gradient accumulation over parts of a batch
* ``student_trainer``: transformers' Trainer for stored targets, and its callbacks
* ``targets``: training targets: mixtures of the teachers, their joint softmax, their features
* ``trainer``: training with transformers' Trainer
* ``training_args``: precision, number of steps and the Trainer's arguments
"""
