"""Vectors of texts: by a pretrained encoder, with class names, kept in the score store; or of n-grams."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import StudentSpec
from muka_fast.data.corpus import Corpus
from muka_fast.models.student import encoder_fingerprint
from muka_fast.runtime.arrays import load_arrays, save_arrays
from muka_fast.runtime.computed_rows import ComputedRows
from muka_fast.runtime.files import temporary_sibling
from muka_fast.runtime.mapped import mapped_chunks, open_array, take_rows
from muka_fast.runtime.parsing import UnreadableError
from muka_fast.runtime.progress import Progress
from muka_fast.selection.text_encoder import TextEncoder, name_similarity

ENCODED_AT_ONCE = 65_536
"""Texts whose token ids and fp32 vectors are in memory at once."""


@dataclass(frozen=True)
class VectorsIndex:
    """What is kept beside the file of the vectors of N texts.

    Attributes:
        ids: Text ids, ascending, (N,).
        names: Class names, (C,).
        name_vectors: Their vectors, (C, D) fp16.
        checksum: CRC-32 of the texts' vectors.
    """

    ids: np.ndarray
    names: np.ndarray
    name_vectors: np.ndarray
    checksum: int


@dataclass(frozen=True)
class TextVectors:
    """Vectors of N texts and C class names.

    Attributes:
        ids: Text ids, ascending, (N,).
        texts: Vectors of the texts in the order of ``ids``, (N, D) fp16; in a mapped file if a folder keeps them.
        name_vectors: Vectors of the class names, (C, D) fp16.
    """

    ids: np.ndarray
    texts: np.ndarray
    name_vectors: np.ndarray

    def of(self, corpus: Corpus) -> tuple[ComputedRows, ComputedRows]:
        """Return vectors (N, D) and name similarities (N, C), fp32, in the order of a corpus of the same texts."""
        places, names = np.searchsorted(self.ids, corpus.ids), self.name_vectors.astype(np.float32)
        vectors = ComputedRows(
            (len(places), self.texts.shape[1]), lambda rows: take_rows(self.texts, places[rows]).astype(np.float32)
        )
        return vectors, ComputedRows((len(places), len(names)), lambda rows: name_similarity(vectors[rows], names))


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
        folder: Score store that keeps them, as ``encoder-*.npy`` and ``encoder-*.npz``; None to keep nothing.
    """
    order = np.unique(corpus.ids, return_index=True)[1]
    ids = corpus.ids[order]
    path = None if folder is None else folder / f"encoder-{_key(spec)}.npz"
    found = None if path is None else _read(path, ids, progress)
    if found is not None and found[0].names.tolist() == list(names):
        return TextVectors(ids, found[1], found[0].name_vectors)
    encoder = TextEncoder.load(spec, device)
    name_vectors = encoder.encode_names(names).astype(np.float16)
    if found is not None and path is not None:  # of the same texts and other class names
        save_arrays(path, replace(found[0], names=np.array(names), name_vectors=name_vectors))
        return TextVectors(ids, found[1], name_vectors)
    with progress.task("encoding texts", len(ids), "texts") as advance:
        parts = (
            encoder.encode(corpus.take(order[rows]), advance).astype(np.float16)
            for rows in mapped_chunks(len(ids), ENCODED_AT_ONCE)
        )
        if path is None:
            return TextVectors(ids, np.concatenate(list(parts)), name_vectors)
        checksum = _write_parts(path.with_suffix(".npy"), len(ids), parts)
    save_arrays(path, VectorsIndex(ids, np.array(names), name_vectors, checksum))
    return TextVectors(ids, open_array(path.with_suffix(".npy")), name_vectors)


def _key(spec: StudentSpec) -> str:
    """Hash what the vectors of a text depend on: weights, configuration, tokenizer and the longest text."""
    return hashlib.sha256(f"{encoder_fingerprint(spec)} {spec.max_length}".encode()).hexdigest()[:16]


def _write_parts(path: Path, count: int, parts: Iterable[np.ndarray]) -> int:
    """Write parts of an array of ``count`` rows as an ``.npy`` file, whole or not at all; return their CRC-32."""
    checksum, temporary = 0, temporary_sibling(path)
    try:
        with temporary.open("wb") as file:
            for index, part in enumerate(parts):
                if not index:
                    shape = {"descr": part.dtype.str, "fortran_order": False, "shape": (count, *part.shape[1:])}
                    np.lib.format.write_array_header_1_0(file, shape)
                content = part.tobytes()
                checksum = zlib.crc32(content, checksum)
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return checksum


def _read(path: Path, ids: np.ndarray, progress: Progress) -> tuple[VectorsIndex, np.ndarray] | None:
    """Return the vectors that are kept, with their index; None if they are of other texts, or damaged."""
    try:
        index = load_arrays(path, VectorsIndex)
        if not np.array_equal(index.ids, ids):
            return None
        texts, checksum = open_array(path.with_suffix(".npy")), 0
        if texts.shape != (len(ids), index.name_vectors.shape[1]) or texts.dtype != np.float16:
            raise UnreadableError("an array of another shape")
        for rows in mapped_chunks(len(texts)):
            checksum = zlib.crc32(texts[rows].tobytes(), checksum)
        if checksum != index.checksum:
            raise UnreadableError("a wrong checksum")
    except FileNotFoundError:
        return None
    except (UnreadableError, ValueError, EOFError):
        progress.log(f"the stored text vectors are damaged and are computed again ({path.name})")
        return None
    return index, texts
