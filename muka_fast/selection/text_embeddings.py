"""Texts as vectors, for judging whose text is whose: means of the student's token embeddings, or hashed n-grams."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import embedding_bag
from transformers import AutoModel

from muka_fast.config.recipe import StudentSpec
from muka_fast.data.corpus import Corpus, text_id
from muka_fast.data.tokenization import tokenize
from muka_fast.models.checkpoint import match_inputs, read_tokenizer, token_limit
from muka_fast.models.student import find_tokenizer, find_weights
from muka_fast.runtime.numerics import row_chunks

COLUMNS = 1024
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Thai, Lao, Burmese, Khmer, kana, Han."""
WORDS = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def embed(spec: StudentSpec, corpus: Corpus) -> np.ndarray:
    """Embed a pool's texts without training anything, and without running a model.

    Returns:
        (N, D) fp32: by the pretrained student's token embeddings or, if it starts from scratch, hashed n-grams.
    """
    return hashed_ngrams(corpus) if spec.model is None else token_means(spec, corpus)


def hashed_ngrams(corpus: Corpus) -> np.ndarray:
    """Count which words and pairs of adjacent words occur, hashed with a sign into 1,024 columns, rows of length 1.

    In scripts without spaces between words, characters stand for them.
    """
    result = np.zeros((len(corpus), COLUMNS), dtype=np.float32)
    for index, text in enumerate(corpus.texts):
        whole = text if corpus.pairs is None else f"{text} {corpus.pairs[index]}"
        words = WORDS.findall(whole.casefold())
        for gram in {*words, *map(" ".join, pairwise(words))}:
            place = text_id(gram)
            result[index, place % COLUMNS] += 1.0 if place >> 63 else -1.0
        result[index] /= max(1e-9, float(np.linalg.norm(result[index])))
    return result


def token_means(spec: StudentSpec, corpus: Corpus) -> np.ndarray:
    """Return the mean of the pretrained student's token embeddings, (N, D) fp32.

    Its layers are not run: a pass would cost what a teacher's does, and tells no better whose a text is
    (``benchmarks/NOTES.md``).
    """
    checkpoint = find_weights(spec)
    tokenizer = read_tokenizer(find_tokenizer(spec))
    model = AutoModel.from_pretrained(
        checkpoint.folder,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=spec.trust_remote_code,
    )
    match_inputs(model, tokenizer)
    weight = model.get_input_embeddings().weight.detach()
    rows = tokenize(tokenizer, corpus, token_limit(model, tokenizer, spec.max_length)).encodings
    result = np.zeros((len(rows), weight.shape[1]), dtype=np.float32)
    for part in row_chunks(len(rows)):
        ids = [np.asarray(row["input_ids"], dtype=np.int64) for row in rows[part]]
        starts = torch.from_numpy(np.cumsum([0, *map(len, ids)])[:-1])
        result[part] = embedding_bag(torch.from_numpy(np.concatenate(ids)), weight, starts, mode="mean").numpy()
    return result
