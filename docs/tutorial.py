"""Make what the tutorial merges: two models, a LoRA adapter, a file of answers, texts. Nothing is downloaded."""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from muka_fast.cli.demo import (
    BERT,
    TEACHERS,
    configuration,
    fit_classifier,
    named_head,
    train_teacher,
    train_tokenizer,
    write_texts,
)
from muka_fast.data.synthetic import INTENTS, utterances

RIGHT = 0.95
"""Share of the answers that are kept; the others are drawn at random, so some of them are right too."""


def train_adapter(base: Path, rows: list[tuple[str, str]], folder: Path) -> None:
    """Train a LoRA adapter and a new head on labelled texts; save them, with the class names in ``config.json``."""
    names = sorted({label for _, label in rows})
    plain = AutoModelForSequenceClassification.from_pretrained(base, ignore_mismatched_sizes=True, **named_head(names))
    plain.config.save_pretrained(folder)
    lora = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, target_modules=["query", "key", "value", "dense"])
    model = get_peft_model(plain, lora)
    fit_classifier(model, AutoTokenizer.from_pretrained(base), rows, names, rate=3e-3)
    model.save_pretrained(folder)


def write_answers(rows: list[tuple[str, str]], file: Path, seed: int) -> None:
    """Write a file of answers about shopping, as a language model gives them; other texts have no answer."""
    random, classes = np.random.default_rng(seed), INTENTS["shopping"]
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("text", "label"))
        for text, label in rows:
            if label in classes:
                writer.writerow((text, label if random.random() < RIGHT else random.choice(classes)))


def main() -> None:
    """Write everything into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=2400, help="labelled texts of each teacher")
    parser.add_argument("--pool", type=int, default=3000, help="unlabelled texts")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # of transformers, about how peft calls it
    folder, started = options.folder, time.perf_counter()
    for name in ("models", "student"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)

    write_texts(folder, 0, options.pool, options.pool // 5)
    for seed, name in ((10, "bert"), (11, "distilbert")):
        family, kind, domains, shape = TEACHERS[name]
        print(f"training {name} on {', '.join(domains)}", flush=True)
        train_teacher(family, kind, shape, utterances(options.texts, seed, domains), folder / "models" / name)
    print("training a LoRA adapter of bert on food", flush=True)
    rows = utterances(options.texts // 2, 12, ("food",))
    train_adapter(folder / "models" / "bert", rows, folder / "models" / "food-lora")
    write_answers([*utterances(options.pool, 1), *utterances(options.pool // 5, 2)], folder / "answers.csv", seed=3)

    pool = (folder / "pool.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = train_tokenizer("wordpiece", pool, folder / "student")
    configuration("bert", tokenizer, BERT).save_pretrained(folder / "student")
    print(f"{folder}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
