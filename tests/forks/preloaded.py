# ruff: noqa: F401
"""Import what commands import, so that forks of a process that has imported this module need not.

transformers imports the modules of an architecture when it is first used; these are those of the tests' models.
"""

import os

# One thread, so that a fork is a copy of everything there is; libraries read this when they are imported.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import gc

import accelerate.commands.launch
import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import torch
import torch.distributed.run
import transformers.models.bert.modeling_bert
import transformers.models.bert.tokenization_bert
import transformers.models.distilbert.modeling_distilbert
import transformers.trainer

import muka_fast.cli
import muka_fast.distillation.trainer
import muka_fast.pipeline.amalgamate
import muka_fast.pipeline.load
import tests.helpers

torch.set_num_threads(1)
torch.set_num_interop_threads(1)
pyarrow.set_cpu_count(1)
gc.collect()
gc.freeze()  # a collection in a fork would look at, and so copy, everything that is imported
