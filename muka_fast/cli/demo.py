"""The demonstration, step by step: texts, three teachers with different labels, one student with all of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

import muka_fast
from muka_fast.data.synthetic import DOMAINS, utterances
from muka_fast.errors import OutputError
from muka_fast.evaluation.run_record import RunRecord
from muka_fast.evaluation.tables import chosen_line, result_rows, terminal_table

MAX_LENGTH = 64
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}

# Three architectures, each with another kind of vocabulary. Two of the teachers share a domain.
TEACHERS: dict[str, tuple[str, str, Sequence[str], dict[str, Any]]] = {
    "bert": ("bert", "wordpiece", DOMAINS[:3], BERT),
    "distilbert": ("distilbert", "bpe", DOMAINS[3:6], {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 256}),
    "electra": ("electra", "unigram", DOMAINS[5:], {**BERT, "embedding_size": 64}),
}
TEACHER_TEXTS, POOL_TEXTS, TEST_TEXTS = 2400, 3000, 600

RECIPE = """\
teachers: [teachers/bert, teachers/distilbert, teachers/electra]
data: pool.txt
student: {config: student, tokenizer: student}
output: merged
test: test.jsonl
selection: {method: pool}
training: {epochs: 12, batch_size: 32, learning_rate: 1.0e-3}
device: cpu
"""


def train_tokenizer(kind: str, texts: Sequence[str], folder: Path) -> PreTrainedTokenizerFast:
    """Train a tokenizer on texts and save it."""
    model, trainer = {
        "wordpiece": (
            models.WordPiece(unk_token="[UNK]"),
            trainers.WordPieceTrainer(vocab_size=2000, special_tokens=SPECIAL, show_progress=False),
        ),
        "bpe": (
            models.BPE(unk_token="[UNK]"),
            trainers.BpeTrainer(vocab_size=1500, special_tokens=SPECIAL, show_progress=False),
        ),
        "unigram": (
            models.Unigram(),
            trainers.UnigramTrainer(vocab_size=1200, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False),
        ),
    }[kind]
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIAL},
    )
    fast.save_pretrained(folder)
    return fast


def configuration(family: str, tokenizer: PreTrainedTokenizerFast, shape: dict[str, Any], **head: Any) -> Any:
    """Return a small configuration of a model family."""
    return AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=MAX_LENGTH,
        **shape,
        **head,
    )


def named_head(names: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a classification head with these classes, for a configuration of transformers."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def train_teacher(family: str, kind: str, shape: dict[str, Any], rows: list[tuple[str, str]], folder: Path) -> None:
    """Train one small classifier from scratch on labelled texts, and save it."""
    names = sorted({label for _, label in rows})
    tokenizer = train_tokenizer(kind, [text for text, _ in rows], folder)
    model = AutoModelForSequenceClassification.from_config(configuration(family, tokenizer, shape, **named_head(names)))
    fit_classifier(model, tokenizer, rows, names)
    model.save_pretrained(folder)


def fit_classifier(
    model: Any, tokenizer: Any, rows: list[tuple[str, str]], names: Sequence[str], rate: float = 1e-3
) -> None:
    """Train a classifier for ten epochs in batches of 32: AdamW, one cycle of the learning rate.

    Args:
        model: Of transformers or peft.
        tokenizer: Its tokenizer.
        rows: Texts and their labels.
        names: Labels in the order of the model's outputs.
        rate: Largest learning rate.
    """
    model.train()
    texts, labels = zip(*rows, strict=True)
    epochs, batch = 10, 32
    steps = epochs * (len(rows) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    targets = torch.tensor([names.index(label) for label in labels])
    for step in range(steps):
        if step % (steps // epochs) == 0:
            order = torch.randperm(len(texts))
        pick = order[step % (steps // epochs) * batch :][:batch]
        inputs = tokenizer([texts[i] for i in pick], padding=True, truncation=True, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        torch.nn.functional.cross_entropy(model(**inputs).logits, targets[pick]).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def _make_folder(output: Path, overwrite: bool) -> None:
    marker = output / ".muka-demo"
    if output.exists() and any(output.iterdir()) and not (overwrite and marker.exists()):
        hint = "--overwrite replaces the earlier demo" if marker.exists() else "give another folder"
        raise OutputError("the folder is not empty", where=str(output), hint=hint)
    output.mkdir(parents=True, exist_ok=True)
    marker.touch()  # first, so that an interrupted demo can be replaced too
    for folder in (output / "teachers", output / "student"):
        folder.mkdir(exist_ok=True)


def write_texts(folder: Path, seed: int, pool: int, test: int) -> None:
    """Write unlabelled texts to ``pool.txt``, and labelled ones that are not among them to ``test.jsonl``."""
    known: set[str] = set()
    with (folder / "pool.txt").open("w", encoding="utf-8") as file:
        for text, _ in utterances(pool, seed + 1):
            known.add(text)
            print(text, file=file)
    with (folder / "test.jsonl").open("w", encoding="utf-8") as file:
        for text, label in utterances(test, seed + 2):
            if text not in known:
                print(json.dumps({"text": text, "label": label}), file=file)


def run(output: Path, *, seed: int = 0, overwrite: bool = False) -> RunRecord:
    """Run the demonstration in a folder and print its results; return the run's record.

    Args:
        output: Folder for texts, teachers, recipe and student.
        seed: Of the texts and of all training.
        overwrite: Replace an earlier demonstration in the folder.

    Raises:
        OutputError: If the folder holds other files.
    """
    console, progress = Console(highlight=False, soft_wrap=True), muka_fast.Progress()
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - started

    _make_folder(output, overwrite)
    torch.manual_seed(seed)
    with timed("making texts"):
        write_texts(output, seed, POOL_TEXTS, TEST_TEXTS)
    with timed("training teachers"):
        for index, (name, (family, kind, domains, shape)) in enumerate(TEACHERS.items()):
            progress.log(f"training teacher {name} on {', '.join(domains)}")
            rows = utterances(TEACHER_TEXTS, seed + 10 + index, domains)
            train_teacher(family, kind, shape, rows, output / "teachers" / name)
        pool = (output / "pool.txt").read_text(encoding="utf-8").splitlines()
        tokenizer = train_tokenizer("wordpiece", pool, output / "student")
        configuration("bert", tokenizer, BERT).save_pretrained(output / "student")
    (output / "recipe.yaml").write_text(f"{RECIPE}seed: {seed}\n", encoding="utf-8")

    recipe = muka_fast.read_recipe(output / "recipe.yaml")
    result = muka_fast.amalgamate(recipe, overwrite=True, progress=progress)

    record = result.record
    assert record.test is not None, "the recipe of the demonstration has labelled texts"
    console.print(terminal_table(("on texts with known labels", "accuracy", ""), result_rows(record.test)))
    console.print(chosen_line(record), markup=False)
    stages = {name: value for name, value in record.seconds.items() if value >= 0.5}
    spent = {"making texts": seconds["making texts"], "training teachers": seconds["training teachers"], **stages}
    console.print("where the time went: " + ", ".join(f"{name} {value:.0f} s" for name, value in spent.items()))

    classifier = muka_fast.Classifier.load(str(result.output), torch.device("cpu"))
    samples = [text for text, _ in utterances(40, seed + 3)][::14]
    for text, (label, share, *_) in zip(samples, classifier.classify(samples), strict=True):
        console.print(f"  {text!r} → {label} ({share:.2f})", markup=False)
    console.print(
        f"\nnext:\n  muka-fast predict {result.output} 'a text of your own'\n"
        f"  muka-fast amalgamate {output / 'recipe.yaml'} --method muka --passes 16 -o {output / 'paper'}\n"
        "  muka-fast init recipe.yaml     # then name your own teachers and texts in it",
        markup=False,
    )
    return record
