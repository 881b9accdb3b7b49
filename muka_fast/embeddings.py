"""Texts as vectors, for judging whose text is whose: the frozen student encoder's, or hashed n-grams."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import torch
from transformers import AutoModel

from muka_fast.batches import token_batches
from muka_fast.checkpoints import match_inputs, read_tokenizer, token_limit
from muka_fast.corpus import Corpus, text_id
from muka_fast.encoding import encode, padded
from muka_fast.recipe import StudentSpec
from muka_fast.student import tokenizer_home, weights_home

COLUMNS = 1024


def embed(spec: StudentSpec, corpus: Corpus, device: torch.device) -> np.ndarray:
    """Embed a pool's texts without training anything.

    Returns:
        (N, D) fp32: by the pretrained student's encoder or, if the student starts from scratch, hashed n-grams.
    """
    return hashed_ngrams(corpus) if spec.model is None else encoder_means(spec, corpus, device)


def hashed_ngrams(corpus: Corpus) -> np.ndarray:
    """Count which words and pairs of adjacent words occur, hashed with a sign into 1,024 columns, rows of length 1."""
    result = np.zeros((len(corpus), COLUMNS), dtype=np.float32)
    for index, text in enumerate(corpus.texts):
        whole = text if corpus.pairs is None else f"{text} {corpus.pairs[index]}"
        words = re.findall(r"\w+", whole.casefold())
        for gram in {*words, *map(" ".join, pairwise(words))}:
            place = text_id(gram)
            result[index, place % COLUMNS] += 1.0 if place >> 63 else -1.0
        result[index] /= max(1e-9, float(np.linalg.norm(result[index])))
    return result


@torch.inference_mode()
def encoder_means(spec: StudentSpec, corpus: Corpus, device: torch.device, token_budget: int = 8192) -> np.ndarray:
    """Return the mean of the frozen student encoder's last hidden states, (N, D) fp32."""
    checkpoint = weights_home(spec)
    tokenizer = read_tokenizer(tokenizer_home(spec))
    model = AutoModel.from_pretrained(
        checkpoint.folder,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=spec.trust_remote_code,
    )
    match_inputs(model, tokenizer)
    model.to(device).eval()
    encoded = encode(tokenizer, corpus, token_limit(model, tokenizer, spec.max_length))
    result = np.zeros((len(corpus), model.config.hidden_size), dtype=np.float32)
    for pick in token_batches(encoded.lengths, corpus.ids, token_budget):
        batch = padded(tokenizer, [encoded.rows[i] for i in pick], device)
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        result[pick] = ((hidden * mask).sum(1) / mask.sum(1)).float().cpu().numpy()
    return result
