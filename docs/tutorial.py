"""Make what the tutorial merges: two models, a LoRA adapter, a file of answers, texts. Nothing is downloaded."""

from __future__ import annotations

import argparse
import csv
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from muka_fast.cli.demo import BERT, TEACHERS, configuration, train_teacher, train_tokenizer
from muka_fast.data.synthetic import INTENTS, utterances

BATCH, RATE = 32, 3e-3
RIGHT = 0.95
"""Share of the answers that are right."""


def train_adapter(base: Path, rows: list[tuple[str, str]], folder: Path, epochs: int) -> None:
    """Train a LoRA adapter and a new head on labelled texts, and save them.

    Args:
        base: Folder of the model that is adapted.
        rows: Texts and their labels.
        folder: Where the adapter is saved, with the names of its classes in ``config.json``.
        epochs: Times that each text is used.
    """
    texts, labels = zip(*rows, strict=True)
    names = sorted(set(labels))
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        ignore_mismatched_sizes=True,
    )
    plain.config.save_pretrained(folder)
    lora = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, target_modules=["query", "key", "value", "dense"])
    model = get_peft_model(plain, lora).train()
    weights = [one for one in model.parameters() if one.requires_grad]
    steps = epochs * -(-len(texts) // BATCH)
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    targets = torch.tensor([names.index(label) for label in labels])
    for _ in range(epochs):
        for pick in torch.randperm(len(texts)).split(BATCH):
            inputs = tokenizer([texts[index] for index in pick], padding=True, truncation=True, return_tensors="pt")
            inputs.pop("token_type_ids", None)
            torch.nn.functional.cross_entropy(model(**inputs).logits, targets[pick]).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
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

    pool = utterances(options.pool, 1)
    known = {text for text, _ in pool}
    test = [row for row in utterances(options.pool // 5, 2) if row[0] not in known]
    (folder / "pool.txt").write_text("".join(f"{text}\n" for text, _ in pool), encoding="utf-8")
    lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in test]
    (folder / "test.jsonl").write_text("".join(lines), encoding="utf-8")

    for seed, name in ((10, "bert"), (11, "distilbert")):
        family, kind, domains, shape = TEACHERS[name]
        print(f"training {name} on {', '.join(domains)}", flush=True)
        train_teacher(family, kind, shape, utterances(options.texts, seed, domains), folder / "models" / name)
    print("training a LoRA adapter of bert on food", flush=True)
    rows = utterances(options.texts // 2, 12, ("food",))
    train_adapter(folder / "models" / "bert", rows, folder / "models" / "food-lora", epochs=10)
    write_answers([*pool, *test], folder / "answers.csv", seed=3)

    tokenizer = train_tokenizer("wordpiece", [text for text, _ in pool], folder / "student")
    configuration("bert", tokenizer, BERT).save_pretrained(folder / "student")
    print(f"{folder}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
