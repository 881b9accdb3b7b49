"""New texts compared with the pool of a finished run: drift of confidence, of shares, and texts unlike the pool."""

from __future__ import annotations

from pathlib import Path

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import read_corpus
from muka_fast.errors import ModelError
from muka_fast.evaluation.drift import compare, pool_reference
from muka_fast.evaluation.drift_record import Drift, PoolReference
from muka_fast.evaluation.run_record import RunRecord, read_run_record
from muka_fast.evaluation.selection_stats import one_line
from muka_fast.inference.classifier import Classifier
from muka_fast.inference.predictions import Distributions
from muka_fast.models.integrity import RUN_RECORD
from muka_fast.pipeline.run_artifacts import is_ensemble, pair_column_of
from muka_fast.runtime.device import Device, choose_device
from muka_fast.runtime.progress import Progress


def watch(
    folder: str | Path,
    data: DataSpec,
    *,
    against: DataSpec | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Drift:
    """Compare new texts with the pool of a run, by the student's predictions; no teacher is run.

    Args:
        folder: Output folder of ``amalgamate``.
        data: New texts; repeated ones count each time. The default of the pair column is the run's.
        against: Texts to compare with; default: the sample of the pool that the run's record summarises.
        device: Where to compute.
        progress: Receives messages; default stderr.

    Raises:
        MukaError: If the folder holds no student, the texts cannot be read, or the record has no summary of the pool
            and ``against`` is None.
    """
    progress = progress or Progress()
    record = read_run_record(Path(folder) / RUN_RECORD)
    if is_ensemble(folder):
        hint = "train a student with method 'pool', and watch with the student"
        raise ModelError("an ensemble has no student to predict with", where=str(folder), hint=hint)
    pair_column = pair_column_of(folder)
    classifier = Classifier.load(str(folder), choose_device(device))
    if against is None:
        reference = _stored(record, folder)
    else:
        reference = pool_reference(_predict(classifier, against, pair_column, progress)[1], held_out=True)
    if not reference.held_out:
        progress.log(
            "the run had too few validation texts: compared with training texts, of which it is more confident"
        )
    texts, found = _predict(classifier, data, pair_column, progress)
    return compare(found, texts, reference, record.labels, _groups(record))


def _stored(record: RunRecord, folder: str | Path) -> PoolReference:
    reference = None if record.training is None else record.training.reference
    if reference is None:
        hint = "give texts of the pool with --against, or amalgamate again"
        raise ModelError("the run's record has no summary of the pool", where=str(folder), hint=hint)
    return reference


def _predict(
    classifier: Classifier, data: DataSpec, pair_column: str | None, progress: Progress
) -> tuple[list[str], Distributions]:
    """Classify texts; return them as they are to be shown, and what was predicted."""
    data = data.model_copy(update={"pair_column": data.pair_column or pair_column})
    corpus = read_corpus(data, distinct=False, log=progress.log)
    with progress.task("predicting", len(corpus), "texts") as advance, corpus.locating_errors():
        found = classifier.distributions(corpus.texts, corpus.pairs, advance)
    return [one_line(corpus, index) for index in range(len(corpus))], found


def _groups(record: RunRecord) -> list[str]:
    """Return for each class the names of the teachers that know it."""
    names = record.selection.teachers
    return [" + ".join(names[teacher] for teacher in known) for known in record.selection.known_to]
