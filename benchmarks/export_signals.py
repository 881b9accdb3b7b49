"""Write a folder of teachers and texts (``train_teachers.py``) as one setting of signals with known owners.

    python benchmarks/export_signals.py runs/accuracy/ag_news-2/seed-0 --base MODEL --out signals/ag_news-2.npz \\
        [--ngrams signals-ngrams/ag_news-2.npz] [--unknown OTHER.parquet] \\
        [--texts 2500] [--test-texts 400] [--max-length 128]

One deterministic pass of every teacher, one pass of the base model's encoder. The format is that of
:mod:`selection_pools`: ``learn_selection.py`` learns from such files, ``selection.py`` judges the rule on them.
Features are those of the score store, embeddings the encoder's mean hidden states (128 principal components).
``--ngrams`` writes the same setting once more as a student from scratch has it: vectors of n-grams, no class names
(judge it with ``selection.py --without-names``).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.config.specs import StudentSpec, TeacherSpec
from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.models.teacher import describe_teachers
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.selection.in_domain import REFERENCE
from muka_fast.selection.ngrams import NgramSpace
from muka_fast.selection.text_encoder import TextEncoder, name_similarity

COMPONENTS = 128
UNKNOWN = "?"


def read_texts(path: Path, count: int, seed: int) -> pd.DataFrame:
    """Read at most so many distinct texts and their labels, in random order."""
    frame = pd.read_parquet(path).drop_duplicates("text")
    frame = frame[frame["text"].str.strip() != ""]
    return frame.sample(min(count, len(frame)), random_state=seed)


def principal_components(vectors: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return the principal components of ``vectors`` by those of ``fitted``, at most 128."""
    centre = fitted.mean(0)
    _, axes = np.linalg.eigh((fitted - centre).T @ (fitted - centre))
    return (vectors - centre) @ axes[:, ::-1][:, :COMPONENTS]


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="teacher-1 …, pool.parquet, test.parquet")
    parser.add_argument("--base", required=True, help="the encoder: folder or hub id")
    parser.add_argument("--out", type=Path, required=True, help=".npz file; its name starts with the data sets")
    parser.add_argument("--ngrams", type=Path, help=".npz file of the setting with n-grams in place of the encoder")
    parser.add_argument("--unknown", type=Path, help="Parquet file of another data set: texts that no teacher knows")
    parser.add_argument("--texts", type=int, default=2500, help="of the pool")
    parser.add_argument("--test-texts", type=int, default=400)
    parser.add_argument("--unknown-texts", type=int, default=400)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = [read_texts(options.folder / "pool.parquet", options.texts, options.seed)]
    parts.append(read_texts(options.folder / "test.parquet", options.test_texts, options.seed))
    if options.unknown:
        parts.append(read_texts(options.unknown, options.unknown_texts, options.seed).assign(label=UNKNOWN))
    frame = pd.concat(parts)
    corpus: Corpus = build_corpus(frame["text"].tolist(), distinct=False)
    device = torch.device(options.device)
    paths = sorted(options.folder.glob("teacher-*"))
    specs = [TeacherSpec(model=str(path), max_length=options.max_length) for path in paths]
    teachers = tuple(describe_teachers(specs, None))
    pool = TeacherPool(teachers, UncertaintySpec(passes=0), options.seed, device)
    arrays: dict[str, np.ndarray] = {}
    for index, teacher in enumerate(teachers):
        with pool.teacher(index) as runner:
            signals = runner.score(corpus, runner.tokenize(corpus), 0, lambda _: None)
        arrays[f"logits{index}"] = signals.logits.astype(np.float16)
        arrays[f"feat{index}"] = signals.features.astype(np.float16)
        print(f"teacher {teacher.name}: {len(teacher.labels)} classes", flush=True)
    encoder = TextEncoder.load(StudentSpec(model=options.base, max_length=options.max_length), device)
    vectors = encoder.encode(corpus)
    names = sorted(LabelSpace.union({teacher.name: teacher.labels for teacher in teachers}).names)
    arrays["emb"] = principal_components(vectors, vectors[: len(parts[0])]).astype(np.float16)
    arrays["names"] = name_similarity(vectors, encoder.encode_names(names)).astype(np.float16)
    counts = [len(part) for part in parts] + [0] * (3 - len(parts))
    arrays |= {"n": np.array(counts), "labels": frame["label"].to_numpy(str)}
    arrays["classes"] = np.array(json.dumps([list(teacher.labels) for teacher in teachers]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **arrays)  # type: ignore[arg-type]
    if options.ngrams:
        space = NgramSpace.fit(corpus.take(np.arange(len(parts[0]))), REFERENCE)
        assert space is not None, "the texts have n-grams in common"
        vectors = space.apply(corpus).astype(np.float16)
        options.ngrams.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(options.ngrams, **(arrays | {"emb": vectors, "names": np.zeros_like(arrays["names"])}))  # type: ignore[arg-type]
    print(f"{options.out}: {len(frame)} texts, {len(teachers)} teachers, {len(names)} classes")


if __name__ == "__main__":
    main()
