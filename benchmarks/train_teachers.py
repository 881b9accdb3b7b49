"""Fine-tune teachers on blocks of a labelled data set's classes and set an unlabelled pool apart.

The classes are cut into contiguous blocks of their sorted names, or by a second column (``--by domain``). Half of the
training rows trains the teachers, each on the rows of its own block; the other half becomes the pool. Written to OUT:
``teacher-1 … teacher-N`` (Hugging Face folders), ``pool.parquet`` and ``test.parquet`` (columns ``text`` and ``label``;
the labels are for measuring only, amalgamation never reads them) and ``teachers.json`` (settings and test accuracies).

    python benchmarks/train_teachers.py clinc150.parquet --base MODEL --by domain --blocks 2 --out runs/clinc
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Split:
    """Rows for the teachers, for the pool, and for testing."""

    teachers: pd.DataFrame
    pool: pd.DataFrame
    test: pd.DataFrame


def read_split(path: Path, *, exclude: list[str], pool_share: float, seed: int) -> Split:
    """Read a Parquet file with ``text``, ``label`` and ``split``; shuffle its training rows and cut off the pool."""
    frame = pd.read_parquet(path)
    frame = frame[~frame["label"].isin(exclude) & (frame["text"].str.strip() != "")]
    train = frame[frame["split"] == "train"].sample(frac=1.0, random_state=seed).reset_index(drop=True)
    cut = round(len(train) * (1 - pool_share))
    return Split(train[:cut], train[cut:], frame[frame["split"] == "test"].reset_index(drop=True))


def label_blocks(frame: pd.DataFrame, blocks: int, by: str | None) -> list[list[str]]:
    """Cut the sorted class names (or the sorted values of column ``by``) into contiguous blocks of equal size."""
    groups = sorted(frame[by or "label"].unique())
    parts = [list(part) for part in np.array_split(np.array(groups, dtype=object), blocks)]
    if by is None:
        return parts
    return [sorted(frame[frame[by].isin(part)]["label"].unique()) for part in parts]


def fine_tune(
    base: str,
    rows: pd.DataFrame,
    names: list[str],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    max_length: int,
    freeze_embeddings: bool,
    seed: int,
):
    """Train one classifier over ``names``; return (model, tokenizer). AdamW, 10 % warm-up, linear decay."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    ).to(DEVICE)
    if freeze_embeddings:
        model.base_model.get_input_embeddings().requires_grad_(False)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    column = {name: i for i, name in enumerate(names)}
    texts, targets = rows["text"].tolist(), torch.tensor([column[label] for label in rows["label"]])
    generator = torch.Generator().manual_seed(seed)
    model.train()
    order = torch.empty(0, dtype=torch.long)
    started = time.perf_counter()
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(texts), generator=generator)])
        pick, order = order[:batch_size], order[batch_size:]
        batch = tokenizer(
            [texts[i] for i in pick], truncation=True, max_length=max_length, padding=True, return_tensors="pt"
        ).to(DEVICE)
        loss = torch.nn.functional.cross_entropy(model(**batch).logits, targets[pick].to(DEVICE))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            rate = (time.perf_counter() - started) / (step + 1)
            print(f"  step {step + 1}/{steps}  loss {loss.item():.3f}  {rate:.2f} s/step", flush=True)
    return model.eval(), tokenizer


@torch.inference_mode()
def accuracy(model, tokenizer, rows: pd.DataFrame, names: list[str], max_length: int) -> float:
    """Share of ``rows`` that the model classifies rightly."""
    texts, hits = rows["text"].tolist(), 0
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    labels = rows["label"].tolist()
    for start in range(0, len(order), 64):
        pick = order[start : start + 64]
        batch = tokenizer(
            [texts[i] for i in pick], truncation=True, max_length=max_length, padding=True, return_tensors="pt"
        ).to(DEVICE)
        predicted = model(**batch).logits.argmax(-1).tolist()
        hits += sum(names[p] == labels[i] for p, i in zip(predicted, pick, strict=True))
    return hits / max(1, len(order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Parquet file with columns text, label, split")
    parser.add_argument("--base", required=True, help="base model: folder or hub id")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=2, help="number of teachers (default 2)")
    parser.add_argument("--by", help="column whose sorted values are cut into blocks, instead of the class names")
    parser.add_argument("--exclude", nargs="*", default=[], help="class names to leave out")
    parser.add_argument("--pool-share", type=float, default=0.5)
    parser.add_argument("--pool-size", type=int, help="at most this many pool texts")
    parser.add_argument("--test-size", type=int, help="at most this many test texts")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--freeze-embeddings", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    split = read_split(args.data, exclude=args.exclude, pool_share=args.pool_share, seed=args.seed)
    blocks = label_blocks(split.teachers, args.blocks, args.by)
    args.out.mkdir(parents=True, exist_ok=True)
    test = split.test.sample(frac=1.0, random_state=args.seed)[: args.test_size]
    split.pool[["text", "label"]][: args.pool_size].to_parquet(args.out / "pool.parquet", index=False)
    test[["text", "label"]].to_parquet(args.out / "test.parquet", index=False)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    summary: dict = {"settings": settings | {"data": args.data.name, "base": Path(args.base).name}, "teachers": []}
    for index, names in enumerate(blocks, start=1):
        rows = split.teachers[split.teachers["label"].isin(names)].reset_index(drop=True)
        print(f"teacher-{index}: {len(names)} classes, {len(rows)} rows", flush=True)
        model, tokenizer = fine_tune(
            args.base,
            rows,
            names,
            steps=args.steps,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            max_length=args.max_length,
            freeze_embeddings=args.freeze_embeddings,
            seed=args.seed + index,
        )
        own = test[test["label"].isin(names)]
        figure = accuracy(model, tokenizer, own, names, args.max_length)
        print(f"teacher-{index}: accuracy on its own classes {figure:.4f} ({len(own)} test texts)", flush=True)
        folder = args.out / f"teacher-{index}"
        model.save_pretrained(folder)
        tokenizer.model_max_length = args.max_length
        tokenizer.save_pretrained(folder)
        summary["teachers"].append({"classes": names, "rows": len(rows), "own_test_accuracy": round(figure, 4)})
    (args.out / "teachers.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
