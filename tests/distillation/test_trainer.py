import contextlib
import gc
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import trainer_callback as training_callbacks
from transformers.integrations import integration_utils

from muka_fast.config.recipe import TrainingSpec
from muka_fast.config.specs import StudentSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation import trainer
from muka_fast.distillation.dataset import DistillationSet, LengthGroupedSampler, split_validation
from muka_fast.distillation.losses import DFALoss
from muka_fast.distillation.trainer import train_student
from muka_fast.distillation.training_args import autocast_type, check_settings, num_training_steps
from muka_fast.errors import CheckFailed, RecipeError
from muka_fast.models.student import load_student
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.progress import Progress
from tests.helpers.models import texts

CPU = torch.device("cpu")
NAMES = ("x", "y", "z")


def test_the_order_groups_lengths_and_depends_on_seed_and_epoch_only():
    lengths = np.random.default_rng(0).integers(5, 100, 1003)
    epoch = 0
    order = LengthGroupedSampler(lengths, 8, 0, lambda: epoch)
    first, again = list(order), list(order)
    assert first == again
    assert sorted(first) == list(range(1003))
    epoch = 1
    assert list(order) != first
    padding = sum(8 * lengths[batch].max() - lengths[batch].sum() for batch in np.array(first[:1000]).reshape(-1, 8))
    assert padding < 0.15 * lengths.sum()
    assert len(DataLoader(range(1003), sampler=order)) == 1003


def test_validation_is_a_split():
    train, held = split_validation(100, 0.02, 0)
    assert (len(train), len(held)) == (98, 2)
    assert sorted([*train, *held]) == list(range(100))
    assert len(split_validation(100, 0.0, 0)[1]) == 0
    assert [len(part) for part in split_validation(2, 0.4, 0)] == [1, 1]


def test_half_of_the_labelled_texts_is_held_out():
    labelled = np.arange(10, 30)
    train, held = split_validation(100, 0.02, 0, labelled)
    assert sorted([*train, *held]) == list(range(100))
    assert np.isin(held, labelled).sum() == 10
    assert len(held) == 12
    assert len(split_validation(100, 0.0, 0, labelled)[1]) == 0
    assert np.array_equal(split_validation(100, 0.02, 0, labelled[:0])[1], split_validation(100, 0.02, 0)[1])


def parts(student, count=48, start=0):
    corpus = build_corpus(texts(count, start))
    rows = tokenize(student.tokenizer, corpus, student.max_length).encodings
    targets = np.eye(3, dtype=np.float32)[
        [("music" in t) + 2 * ("music" not in t and "jazz" in t) for t in corpus.texts]
    ]
    sample_weight = np.ones(count)
    return (
        DistillationSet(rows, targets, sample_weight, np.arange(count - 8)),
        DistillationSet(rows, targets, sample_weight, np.arange(count - 8, count)),
    )


def train(
    folder, model, *, validation=True, change=lambda data: None, start=0, logs=None, log=None, passes=None, limit=512,
    **settings,
):  # fmt: skip
    student = load_student(StudentSpec(model=str(model)), NAMES, seed=0)
    if passes is not None:
        student.model.register_forward_hook(lambda *_: passes.append(1))
    data, held = parts(student, start=start)
    change(data)
    progress = Progress(silent=True)
    if log is not None:
        progress.log = log
    spec = TrainingSpec(**({"epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "evaluations": 3} | settings))
    result = train_student(
        student, data, held if validation else None, spec, folder, seed=0, device=CPU, progress=progress, logs=logs,
        microbatch_limit=limit,
    )  # fmt: skip
    return student.model, result


@pytest.mark.transformers4
def test_training_lowers_the_loss_and_keeps_the_best_weights(tmp_path, model_folder):
    model, result = train(tmp_path / "run", model_folder("base"))
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    assert len(losses) == 3
    assert result.best_loss == min(losses)
    assert losses[-1] < 0.9 * np.log(3)
    assert result.steps == 30
    assert model.config.problem_type == "single_label_classification"


def test_equal_seeds_give_equal_weights_and_frozen_embeddings_stay(tmp_path, model_folder):
    base = model_folder("base")
    first, _ = train(tmp_path / "a", base, validation=False, freeze_embeddings=True, max_steps=4)
    second, _ = train(tmp_path / "b", base, validation=False, freeze_embeddings=True, max_steps=4)
    start = load_student(StudentSpec(model=str(base)), NAMES, seed=0).model
    for (name, one), two in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two), name
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(first.state_dict()[words], start.state_dict()[words])
    assert not torch.equal(first.classifier.weight, start.classifier.weight)


def test_a_batch_in_parts_trains_like_the_whole(tmp_path, model_folder):
    base = model_folder("base", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    options = {"validation": False, "max_steps": 3, "learning_rate": 1e-3, "batch_size": 40, "head_init": "random"}
    passes_of_whole, passes_of_pieces = [], []
    whole, of_whole = train(tmp_path / "a", base, passes=passes_of_whole, limit=10**6, **options)
    pieces, of_pieces = train(tmp_path / "b", base, passes=passes_of_pieces, limit=30, **options)
    assert len(passes_of_whole) == 3
    assert len(passes_of_pieces) > 3 * 3
    for one, two in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-4)
    losses = [[entry["loss"] for entry in found.history if "loss" in entry] for found in (of_whole, of_pieces)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.transformers4
def test_accumulated_batches_equal_one_large_batch(tmp_path, model_folder):
    base = model_folder("base", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    options = {"validation": False, "max_steps": 3, "learning_rate": 1e-3, "limit": 30}
    whole, _ = train(tmp_path / "a", base, batch_size=40, **options)
    pieces, _ = train(tmp_path / "b", base, batch_size=8, gradient_accumulation=5, **options)
    for one, two in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-4)


def other_target(data):
    data.targets[3] = data.targets[3][::-1].copy()


def other_weight(data):
    data.sample_weight[3] = 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "now",
    [{"start": 1}, {"change": other_target}, {"change": other_weight}, {"model": "another"}, {"epochs": 3}],
    ids=["texts", "targets", "weights", "student", "settings"],
)
@pytest.mark.parametrize("steps", [None, 20], ids=["done", "halfway"])
def test_checkpoints_of_another_training_are_discarded(now, steps, tmp_path, model_folder):
    messages = []
    bases = {"base": model_folder("base"), "another": model_folder("another", seed=5)}
    now = {"epochs": 2} | now
    base = bases[now.pop("model", "base")]
    train(tmp_path / "run", bases["base"], epochs=2, evaluations=2)
    if steps is not None:
        shutil.rmtree(tmp_path / "run" / "checkpoint-10")
    resumed, _ = train(tmp_path / "run", base, log=lambda message, **_: messages.append(message), evaluations=2, **now)
    fresh, _ = train(tmp_path / "fresh", base, log=lambda message, **_: messages.append(message), evaluations=2, **now)
    assert len([line for line in messages if "restarting training" in line]) == 1
    for one, two in zip(resumed.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.transformers4
def test_the_last_weights_are_validated_and_once_only(tmp_path, model_folder, monkeypatch):
    """With a default flow like transformers 4's, which validates at multiples of the interval only."""
    flow = training_callbacks.DefaultFlowCallback.on_step_end

    def plain(self, args, state, control, **kwargs):
        flow(self, args, state, control, **kwargs)
        control.should_evaluate = state.global_step % state.eval_steps == 0
        return control

    for patched in (False, True):
        if patched:
            monkeypatch.setattr(training_callbacks.DefaultFlowCallback, "on_step_end", plain)
        _, result = train(tmp_path / f"run{patched}", model_folder("base"), max_steps=10)
        assert [entry["step"] for entry in result.history if "eval_loss" in entry] == [4, 8, 10]


class Writer:
    """Stands for TensorBoard's, which is no dependency."""

    def __init__(self, log_dir):
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        self.file = Path(log_dir) / "events"

    def add_scalar(self, name, value, step):
        with self.file.open("a") as file:
            print(name, step, file=file)

    def add_text(self, *args):
        pass

    def flush(self):
        pass

    def close(self):
        pass


@pytest.mark.transformers4
def test_tensorboard_writes_into_the_folder_of_logs(tmp_path, model_folder, monkeypatch):
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    base, options = model_folder("base"), {"max_steps": 4, "evaluations": 2, "report_to": "tensorboard"}
    train(tmp_path / "run", base, logs=tmp_path / "logs", **options)
    assert (tmp_path / "logs" / "events").read_text().count("eval/loss") == 2
    assert not [path for path in (tmp_path / "run").iterdir() if path.name in ("runs", "logs")]
    train(tmp_path / "run", base, logs=tmp_path / "logs", **options | {"report_to": []})  # the same training
    assert (tmp_path / "logs" / "events").exists()
    train(tmp_path / "run", base, logs=tmp_path / "logs", **options | {"max_steps": 2})
    assert "eval/loss 4" not in (tmp_path / "logs" / "events").read_text()


@pytest.mark.transformers4
def test_patience_stops_early(tmp_path, model_folder):
    _, result = train(tmp_path / "run", model_folder("base"), learning_rate=0.5, evaluations=30, patience=1)
    assert result.steps < 30


@pytest.mark.transformers4
def test_a_training_that_patience_stopped_stays_stopped(tmp_path, model_folder):
    options = {"learning_rate": 0.5, "evaluations": 30, "patience": 2}
    base = model_folder("base")
    first, stopped = train(tmp_path / "run", base, **options)
    again, resumed = train(tmp_path / "run", base, **options)
    assert (resumed.steps, resumed.best_loss) == (stopped.steps, stopped.best_loss)
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_diverged_student_is_a_failed_check(tmp_path, model_folder):
    with pytest.raises(CheckFailed, match="diverged"):
        train(tmp_path / "run", model_folder("base"), learning_rate=1e30)


@pytest.mark.transformers4
def test_settings_that_would_fail_after_scoring_are_refused_before():
    with pytest.raises(RecipeError, match="batch of 16 cannot be shared by 3"):
        check_settings(TrainingSpec(), DistributedContext(0, 3))
    with pytest.raises(RecipeError, match="nonesuch"):
        check_settings(TrainingSpec(report_to=["nonesuch"]), SINGLE_PROCESS)


def test_a_tracker_that_is_not_installed_is_refused_before_the_scoring(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RecipeError, match="mlflow to be installed"):
        check_settings(TrainingSpec(report_to=["mlflow"]), SINGLE_PROCESS)
    gc.collect()
    assert capsys.readouterr().err == ""
    check_settings(TrainingSpec(batch_size=18), DistributedContext(0, 3))


@pytest.mark.transformers4
def test_parameters_of_a_loss_are_trained_resumed_and_left_out(tmp_path, model_folder):
    base = str(model_folder("base"))

    def taught(folder):
        student = load_student(StudentSpec(model=base), NAMES, seed=0)
        corpus = build_corpus(texts(48))
        rows = tokenize(student.tokenizer, corpus, student.max_length).encodings
        random = np.random.default_rng(0)
        targets = np.concatenate([random.dirichlet(np.ones(3), 48), random.normal(size=(48, 4))], axis=1)
        data = DistillationSet(rows, targets.astype(np.float32), np.ones(48), np.arange(48))
        torch.manual_seed(1)
        loss_fn = DFALoss(3, [2, 2], student.width, temperature=2.0)
        before = loss_fn.decoder.weight.detach().clone()
        spec = TrainingSpec(epochs=2, batch_size=8, learning_rate=5e-3, evaluations=4)
        train_student(
            student, data, None, spec, folder, seed=0, device=CPU, progress=Progress(silent=True), loss_fn=loss_fn
        )
        return student.model, before, loss_fn.decoder.weight.detach()

    model, before, after = taught(tmp_path / "whole")
    assert not torch.equal(before, after)
    assert not [name for name in model.state_dict() if trainer.LOSS_MODULE in name]
    last = max((tmp_path / "whole").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(last)  # as if killed before it
    resumed, _, again = taught(tmp_path / "whole")
    assert torch.equal(after, again)
    for one, two in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_student_without_features_cannot_match_any(tmp_path, model_folder, monkeypatch):
    student = load_student(StudentSpec(model=str(model_folder("base"))), NAMES, seed=0)
    data, _ = parts(student)
    monkeypatch.setattr(trainer, "classifier_input", lambda model: contextlib.nullcontext([]))
    with pytest.raises(RecipeError, match="reads no vector"):
        train_student(
            student, data, None, TrainingSpec(), tmp_path, seed=0, device=CPU, progress=Progress(silent=True),
            loss_fn=DFALoss(3, [2], student.width, temperature=1.0),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "texts", "steps"),
    [
        ({}, 2450, 1500),  # 154 batches an epoch
        ({}, 100_001, 18753),
        ({"gradient_accumulation": 4}, 100_001, 4689),
        ({"epochs": 2, "batch_size": 8}, 20, 6),
        ({"epochs": 0.1, "batch_size": 8}, 20, 1),
        ({"epochs": 2, "max_steps": 7}, 20, 7),
    ],
)
def test_steps_by_hand(settings, texts, steps):
    assert num_training_steps(TrainingSpec(**settings), texts) == steps


@pytest.mark.transformers4
def test_the_autocast_of_a_device(monkeypatch):
    settings = TrainingSpec()
    assert autocast_type(settings, torch.device("cpu")) is None
    for has_bf16, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bf16, **_: has)
        assert autocast_type(settings, torch.device("cuda")) == expected
    assert autocast_type(TrainingSpec(precision="bf16"), torch.device("cpu")) == torch.bfloat16
