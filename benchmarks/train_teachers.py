"""Fine-tune teachers on blocks of a labelled data set's classes, and set an unlabelled pool apart.

The classes are split into contiguous blocks of their sorted names, or by a second column (``--by domain``). Half of the
training rows trains the teachers, each on the rows of its block; the other half is the pool. Written to OUT:
``teacher-1 … teacher-N`` (Hugging Face folders), ``pool.parquet`` and ``test.parquet`` (columns ``text`` and ``label``;
the labels are only for measurements, a run never reads them) and ``teachers.json`` (settings and test accuracies).

Several data sets give a teacher each, over all of its classes, and a pool and test texts of all of them, in equal
parts. ``--rename`` gives classes of different sets one name. ``--overlap N`` adds the first N classes of the next block
to each. ``--from-scratch I`` trains teacher I as a small DistilBERT with a vocabulary of its own instead.

    python benchmarks/train_teachers.py clinc150.parquet --base MODEL --by domain --blocks 2 --out runs/clinc
    python benchmarks/train_teachers.py ag_news.parquet bbc_news.parquet --base MODEL --rename business=Business \\
        --rename sport=Sports --rename tech=Sci/Tech --out runs/news
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

from muka_fast.cli.demo import named_head, train_teacher

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Split:
    """Rows for the teachers, the pool and the test."""

    teachers: pd.DataFrame
    pool: pd.DataFrame
    test: pd.DataFrame


def read_split(path: Path, *, exclude: list[str], pool_share: float, seed: int) -> Split:
    """Read a Parquet file with ``text``, ``label`` and ``split``; shuffle its training rows and split off the pool."""
    frame = pd.read_parquet(path)
    frame = frame[~frame["label"].isin(exclude) & (frame["text"].str.strip() != "")]
    train = frame[frame["split"] == "train"].sample(frac=1.0, random_state=seed).reset_index(drop=True)
    cut = round(len(train) * (1 - pool_share))
    return Split(train[:cut], train[cut:], frame[frame["split"] == "test"].reset_index(drop=True))


def join(splits: list[Split], seed: int) -> Split:
    """Concatenate data sets, with as many pool and test texts of each as the smallest has."""

    def balance(frames: list[pd.DataFrame]) -> pd.DataFrame:
        least = min(map(len, frames))
        drawn = [frame.sample(least, random_state=seed) for frame in frames]
        return pd.concat(drawn).sample(frac=1.0, random_state=seed).reset_index(drop=True)

    whole = pd.concat([split.teachers for split in splits]).reset_index(drop=True)
    return Split(whole, balance([split.pool for split in splits]), balance([split.test for split in splits]))


def label_blocks(frame: pd.DataFrame, blocks: int, by: str | None, overlap: int = 0) -> list[list[str]]:
    """Split the sorted class names (or the sorted values of column ``by``) into contiguous blocks of equal size.

    The first ``overlap`` names of the next block are added to each; the first block follows the last.
    """
    groups = sorted(frame[by or "label"].unique())
    parts = [list(part) for part in np.array_split(np.array(groups, dtype=object), blocks)]
    if by is not None:
        parts = [sorted(frame[frame[by].isin(part)]["label"].unique()) for part in parts]
    return [sorted({*part, *parts[(index + 1) % blocks][:overlap]}) for index, part in enumerate(parts)]


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
    precision: str,
    seed: int,
):
    """Train one classifier over ``names``; return (model, tokenizer). AdamW, 10 % warm-up, linear decay."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, dtype=torch.float32, ignore_mismatched_sizes=True, **named_head(names)
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
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(**batch).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), targets[pick].to(DEVICE))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0:
            rate = (time.perf_counter() - started) / (step + 1)
            print(f"  step {step + 1}/{steps}  loss {loss.item():.3f}  {rate:.2f} s/step", flush=True)
    return model.eval(), tokenizer


def from_scratch(rows: pd.DataFrame, folder: Path, seed: int):
    """Train a small DistilBERT with a vocabulary of its own; return (model, tokenizer)."""
    torch.manual_seed(seed)
    shape = {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 256}
    train_teacher("distilbert", "bpe", shape, list(zip(rows["text"], rows["label"], strict=True)), folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).to(DEVICE).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@torch.inference_mode()
def accuracy(model, tokenizer, rows: pd.DataFrame, names: list[str], max_length: int) -> float:
    """Return the share of ``rows`` that the model classifies correctly."""
    texts, hits = rows["text"].tolist(), 0
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    labels = rows["label"].tolist()
    for start in range(0, len(order), 64):
        pick = order[start : start + 64]
        limit = min(max_length, tokenizer.model_max_length)
        batch = tokenizer(
            [texts[i] for i in pick], truncation=True, max_length=limit, padding=True, return_tensors="pt"
        ).to(DEVICE)
        if model.config.model_type == "distilbert":
            batch.pop("token_type_ids", None)
        predicted = model(**batch).logits.argmax(-1).tolist()
        hits += sum(names[p] == labels[i] for p, i in zip(predicted, pick, strict=True))
    return hits / max(1, len(order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="Parquet files with columns text, label, split")
    parser.add_argument("--base", required=True, help="base model: folder or hub id")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=2, help="number of teachers (default 2)")
    parser.add_argument("--by", help="column whose sorted values are split into blocks, instead of the class names")
    parser.add_argument("--exclude", nargs="*", default=[], help="class names to leave out")
    parser.add_argument("--overlap", type=int, default=0, help="classes that each block shares with the next")
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="another name for a class")
    parser.add_argument("--from-scratch", type=int, action="append", default=[], metavar="I", help="teachers, from 1")
    parser.add_argument("--pool-share", type=float, default=0.5)
    parser.add_argument("--pool-size", type=int, help="at most this many pool texts")
    parser.add_argument("--test-size", type=int, help="at most this many test texts")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--freeze-embeddings", action="store_true")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    splits = [read_split(path, exclude=args.exclude, pool_share=args.pool_share, seed=args.seed) for path in args.data]
    renamed = dict(pair.split("=", 1) for pair in args.rename)
    for part in splits:
        for frame in (part.teachers, part.pool, part.test):
            frame["label"] = frame["label"].replace(renamed)
    split = splits[0] if len(splits) == 1 else join(splits, args.seed)
    if len(splits) == 1:
        blocks = label_blocks(split.teachers, args.blocks, args.by, args.overlap)
        parts = [split.teachers[split.teachers["label"].isin(names)] for names in blocks]
    else:
        blocks = [sorted(part.teachers["label"].unique()) for part in splits]
        parts = [part.teachers for part in splits]
    args.out.mkdir(parents=True, exist_ok=True)
    test = split.test.sample(frac=1.0, random_state=args.seed)[: args.test_size]
    split.pool[["text", "label"]][: args.pool_size].to_parquet(args.out / "pool.parquet", index=False)
    test[["text", "label"]].to_parquet(args.out / "test.parquet", index=False)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    settings |= {"data": [path.name for path in args.data], "base": Path(args.base).name}
    summary: dict = {"settings": settings, "teachers": []}
    for index, (names, rows) in enumerate(zip(blocks, parts, strict=True), start=1):
        rows = rows.reset_index(drop=True)
        folder = args.out / f"teacher-{index}"
        print(f"teacher-{index}: {len(names)} classes, {len(rows)} rows", flush=True)
        if index in args.from_scratch:
            model, tokenizer = from_scratch(rows, folder, args.seed + index)
        else:
            model, tokenizer = fine_tune(
                args.base,
                rows,
                names,
                steps=args.steps,
                batch_size=args.batch_size,
                learning_rate=args.learning_rate,
                max_length=args.max_length,
                freeze_embeddings=args.freeze_embeddings,
                precision=args.precision,
                seed=args.seed + index,
            )
            model.save_pretrained(folder)
            tokenizer.model_max_length = args.max_length
            tokenizer.save_pretrained(folder)
        own = test[test["label"].isin(names)]
        figure = accuracy(model, tokenizer, own, names, args.max_length)
        print(f"teacher-{index}: accuracy on its own classes {figure:.4f} ({len(own)} test texts)", flush=True)
        summary["teachers"].append({"classes": names, "rows": len(rows), "own_test_accuracy": round(figure, 4)})
    (args.out / "teachers.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
