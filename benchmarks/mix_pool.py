"""Make a variant of what ``train_teachers.py`` wrote: the same teachers and test texts, another mix of pool texts.

``--out-of-domain FILE`` mixes in texts of another data set, whose classes no teacher has, as the ``--share`` of the
pool; ``--class`` takes only its texts of one class. ``--keep TEACHER`` draws texts so that those of that
teacher's classes are the ``--share`` of the pool. ``--size N`` draws N texts.

    python benchmarks/mix_pool.py runs/accuracy/ag_news-2/seed-0 --out-of-domain trec.parquet --share 0.3 \\
        --out runs/accuracy/ag_news-2-foreign/seed-0
    python benchmarks/mix_pool.py runs/accuracy/clinc150-2/seed-0 --out-of-domain clinc150.parquet --class oos \\
        --share 0.05 --out runs/accuracy/clinc150-2-oos/seed-0
    python benchmarks/mix_pool.py runs/accuracy/trec-2/seed-0 --keep 2 --share 0.9 \\
        --out runs/accuracy/trec-2-skewed/seed-0
    python benchmarks/mix_pool.py runs/accuracy/trec-2/seed-0 --size 300 --out runs/accuracy/trec-2-300/seed-0
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pandas as pd


def add_out_of_domain(pool: pd.DataFrame, other: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return the pool with out-of-domain texts, shuffled; their labels are marked so that they equal no class."""
    count = round(len(pool) * share / (1 - share))
    if count > len(other):
        raise SystemExit(f"{count} out-of-domain texts are needed for a share of {share}, the file has {len(other)}")
    added = other.sample(count, random_state=seed)
    added = added.assign(label="out of domain: " + added["label"].astype(str))
    return pd.concat([pool, added[["text", "label"]]]).sample(frac=1.0, random_state=seed)


def skewed(pool: pd.DataFrame, classes: list[str], share: float, seed: int) -> pd.DataFrame:
    """Return the largest part of the pool in which texts of these classes have the share."""
    kept, other = pool[pool["label"].isin(classes)], pool[~pool["label"].isin(classes)]
    count = min(len(kept), round(len(other) * share / (1 - share)))
    others = min(len(other), round(count * (1 - share) / share))
    parts = [kept.sample(count, random_state=seed), other.sample(others, random_state=seed)]
    return pd.concat(parts).sample(frac=1.0, random_state=seed)


def main() -> None:
    """Write the variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a folder that train_teachers.py wrote")
    parser.add_argument("--out-of-domain", type=Path, metavar="FILE", help="Parquet file (text, label, split)")
    parser.add_argument("--class", dest="only", help="take only texts of this class from FILE")
    parser.add_argument("--size", type=int, help="texts to draw")
    parser.add_argument("--keep", type=int, metavar="TEACHER", help="number of the teacher whose texts are kept")
    parser.add_argument("--share", type=float, help="share of the out-of-domain or kept texts")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if [args.out_of_domain, args.keep, args.size].count(None) != 2:
        parser.error("give one of --out-of-domain, --keep, --size")
    if args.size is None and not 0 < (args.share or 0) < 1:
        parser.error("give a --share between 0 and 1")
    summary = json.loads((args.run / "teachers.json").read_text(encoding="utf-8"))
    pool, seed = pd.read_parquet(args.run / "pool.parquet"), int(summary["settings"]["seed"])
    # The keys below are compared with those in committed results, and keep their names.
    if args.out_of_domain is not None:
        frame = pd.read_parquet(args.out_of_domain)
        frame = frame[(frame["split"] == "train") & ~frame["text"].isin(pool["text"])]
        if args.only is not None:
            frame = frame[frame["label"] == args.only]
        mixed = add_out_of_domain(pool, frame, args.share, seed)
        given = {"foreign": args.out_of_domain.name, "foreign_share": args.share, "foreign_class": args.only}
        summary["settings"] |= given
    elif args.size is not None:
        if args.size > len(pool):
            raise SystemExit(f"the pool has {len(pool)} texts, {args.size} are asked for")
        mixed = pool.sample(args.size, random_state=seed)
        summary["settings"] |= {"drawn": args.size}
    else:
        mixed = skewed(pool, summary["teachers"][args.keep - 1]["classes"], args.share, seed)
        summary["settings"] |= {"kept_teacher": args.keep, "kept_share": args.share}
    args.out.mkdir(parents=True)
    mixed.to_parquet(args.out / "pool.parquet", index=False)
    for source in [*args.run.glob("teacher-*"), args.run / "test.parquet"]:
        (args.out / source.name).symlink_to(os.path.relpath(source, args.out), target_is_directory=source.is_dir())
    (args.out / "teachers.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(f"{args.out}: {len(mixed)} texts")


if __name__ == "__main__":
    main()
