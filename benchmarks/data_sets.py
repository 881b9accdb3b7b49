"""Teachers and texts of a folder that ``train_teachers.py`` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muka_fast.config.specs import TeacherSpec
from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.readers import open_tables
from muka_fast.models.teacher import Teacher, describe_teachers


@dataclass(frozen=True)
class DataSet:
    """Teachers and the first texts of a pool.

    Attributes:
        corpus: N texts.
        teachers: T teachers.
        right_teacher: Index of the teacher that has the text's label, (N,).
    """

    corpus: Corpus
    teachers: list[Teacher]
    right_teacher: np.ndarray


def texts_of(folder: Path, count: int) -> tuple[Corpus, np.ndarray]:
    """Return the first distinct texts of a pool, and their labels."""
    (table,) = open_tables([str(folder / "pool.parquet")])
    rows = [values for _, values in table.read(["text", "label"])][: 2 * count]
    corpus = build_corpus([row[0] for row in rows], labels=[row[1] for row in rows])
    corpus = corpus.take(np.arange(min(count, len(corpus))))
    return corpus, np.array(corpus.labels)


def teachers_of(folder: Path) -> list[Teacher]:
    """Describe the teachers of a folder."""
    return describe_teachers(
        [TeacherSpec(model=str(path)) for path in sorted(folder.glob("teacher-[0-9]*")) if path.is_dir()]
    )


def read_data_set(folder: Path, count: int) -> DataSet:
    """Read teachers and the first ``count`` texts of a folder."""
    corpus, labels = texts_of(folder, count)
    teachers = teachers_of(folder)
    right = [next(i for i, teacher in enumerate(teachers) if label in teacher.labels) for label in labels]
    return DataSet(corpus, teachers, np.array(right))
