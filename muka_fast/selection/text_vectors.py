"""Vectors of texts: by a pretrained encoder, with class names, kept in the score store; or of n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from muka_fast.config.recipe import Recipe, StudentSpec
from muka_fast.data.corpus import Corpus
from muka_fast.models.student import encoder_fingerprint
from muka_fast.runtime.arrays import load_arrays, save_arrays
from muka_fast.runtime.parsing import UnreadableError
from muka_fast.runtime.progress import Progress
from muka_fast.selection.text_encoder import TextEncoder, name_similarity


@dataclass(frozen=True)
class TextVectors:
    """Vectors of N texts and C class names.

    Attributes:
        ids: Text ids, ascending, (N,).
        texts: Vectors of the texts in the order of ``ids``, (N, D) fp16.
        names: Class names, (C,).
        name_vectors: Their vectors, (C, D) fp16.
    """

    ids: np.ndarray
    texts: np.ndarray
    names: np.ndarray
    name_vectors: np.ndarray

    def fits(self, ids: np.ndarray, names: Sequence[str]) -> bool:
        """Return whether these are vectors of texts with these ids, ascending, and of these class names."""
        shapes = [values.shape for values in (self.texts, self.name_vectors)]
        return (
            np.array_equal(self.ids, ids)
            and self.names.tolist() == list(names)
            and all(len(shape) == 2 for shape in shapes)
            and [shape[0] for shape in shapes] == [len(ids), len(names)]
            and shapes[0][1] == shapes[1][1] > 0
        )

    def of(self, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
        """Return vectors (N, D) and name similarities (N, C), fp32, in the order of a corpus of the same texts."""
        rows = np.searchsorted(self.ids, corpus.ids)
        vectors = self.texts[rows].astype(np.float32)
        return vectors, name_similarity(vectors, self.name_vectors.astype(np.float32))


def encoder_spec(recipe: Recipe) -> StudentSpec | None:
    """Return the model whose text vectors selection reads; None where n-grams take its place."""
    encoder = recipe.selection.text_encoder
    if encoder is not None:
        return StudentSpec(**encoder.model_dump())
    return recipe.student if recipe.student.model is not None else None


def read_or_encode(
    spec: StudentSpec,
    corpus: Corpus,
    names: Sequence[str],
    device: torch.device,
    progress: Progress,
    folder: Path | None = None,
) -> TextVectors:
    """Return the vectors of texts and class names; one pass of the encoder if they are not in a folder.

    Args:
        spec: A pretrained model.
        corpus: The texts.
        names: Class names of the union.
        device: Where the encoder runs.
        progress: Receives a bar.
        folder: Score store that keeps them; None to keep nothing.
    """
    path = None if folder is None else folder / f"encoder-{(encoder_fingerprint(spec) or '')[:16]}.npz"
    ids = np.unique(corpus.ids)
    if path is not None and path.exists():
        try:
            found = load_arrays(path, TextVectors)
        except UnreadableError:
            progress.log(f"the stored text vectors are damaged and are computed again ({path.name})")
        else:
            if found.fits(ids, names):
                return found
    encoder = TextEncoder.load(spec, device)
    first = corpus.take(np.sort(np.unique(corpus.ids, return_index=True)[1]))
    with progress.task("encoding texts", len(first), "texts") as advance:
        vectors = encoder.encode(first, advance)
    order = np.argsort(first.ids, kind="stable")
    made = TextVectors(
        first.ids[order],
        vectors[order].astype(np.float16),
        np.array(names),
        encoder.encode_names(names).astype(np.float16),
    )
    if path is not None:
        save_arrays(path, made)
    return made
