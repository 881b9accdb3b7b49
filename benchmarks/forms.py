"""Teachers whose deterministic part runs in ONNX Runtime: the same choices? how fast? All forms take turns.

For each data set (a folder that ``train_teachers.py`` wrote) every form scores the same texts twice over: the first
look alone, and adaptive passes with K = 16. ``same choice``: share of texts for which the teacher of least predictive
entropy is the one that the PyTorch form chooses.

    python benchmarks/forms.py ag_news=runs/ag_news clinc150=runs/clinc150 --json benchmarks/results/forms-cpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from passes import teachers_of, texts_of

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.uncertainty.signals import Signals, normalised

FORMS = ("torch", "onnx", "onnx-int8")


def choice(signals: list[Signals]) -> np.ndarray:
    """Return the teacher that the paper's score trusts most, (N,)."""
    return np.stack([normalised(one.predictive_entropy, one.logits.shape[1]) for one in signals]).argmin(0)


def measure(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Measure one data set."""
    corpus, _ = texts_of(folder, count)
    teachers = teachers_of(folder)
    pools, rules = {}, {}
    for form in FORMS:
        settings = UncertaintySpec(passes=16, adaptive=True, audit=0.0, teacher_form=form)
        pools[form], rules[form] = TeacherPool(teachers, settings, 0, torch.device("cpu")), stopping_rule(settings)
    encoded = []
    for index in range(len(teachers)):
        with pools["torch"].teacher(index) as runner:
            encoded.append(runner.tokenize(corpus))
    looks: dict[str, list[Signals]] = {}
    chosen: dict[str, np.ndarray] = {}
    seconds: dict[str, dict[str, list[float]]] = {form: {"first look": [], "adaptive": []} for form in FORMS}
    for turn in range(repeats + 1):  # the first one warms up
        for form in FORMS:
            started = time.perf_counter()
            looks[form] = []
            for index in range(len(teachers)):
                with pools[form].teacher(index) as runner:
                    output = runner.deterministic_pass(corpus, encoded[index], lambda _: None)
                looks[form].append(output.signals())
            middle = time.perf_counter()
            done = score_adaptively(pools[form], [corpus], rules[form], 0, lambda _: None)[0]
            if turn:
                seconds[form]["first look"].append(middle - started)
                seconds[form]["adaptive"].append(time.perf_counter() - middle)
            chosen[form] = choice(done.signals)
    rows = {}
    for form in FORMS:
        differences = [np.abs(a.logits - b.logits) for a, b in zip(looks[form], looks["torch"], strict=True)]
        rows[form] = {
            "same_choice": float((chosen[form] == chosen["torch"]).mean()),
            "same_choice_by_first_look": float((choice(looks[form]) == choice(looks["torch"])).mean()),
            "largest_logit_difference": float(max(part.max() for part in differences)),
            "mean_logit_difference": float(np.mean([part.mean() for part in differences])),
        }
        for what, taken in seconds[form].items():
            middle = statistics.median(taken)
            rows[form][what] = {
                "ms_a_text": 1000 * middle / len(corpus),
                "torch_time_over_it": statistics.median(seconds["torch"][what]) / middle,
            }
    return {"texts": len(corpus), "tokens": float(encoded[0].lengths.mean()), "rows": rows}


def table(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| data, form | first look, ms a text | adaptive, ms a text | torch's time over it | same choice "
        "| logits differ by (mean, largest) |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        for form, row in one["rows"].items():
            ratios = ", ".join(f"{row[what]['torch_time_over_it']:.2f}×" for what in ("first look", "adaptive"))
            taken = " | ".join(f"{row[what]['ms_a_text']:.2f}" for what in ("first look", "adaptive"))
            apart = f"{row['mean_logit_difference']:.1e}, {row['largest_logit_difference']:.1e}"
            lines.append(f"| {name}, {form} | {taken} | {ratios} | {row['same_choice']:.2%} | {apart} |")
    return "\n".join(lines)


def main() -> None:
    """Measure the data sets named on the command line and write or extend the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=FOLDER", help="folders of train_teachers.py")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True, help="file to read, extend and write")
    args = parser.parse_args()
    collected = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {"data": {}}
    for item in args.data:
        name, _, folder = item.partition("=")
        collected["data"][name] = measure(Path(folder), args.texts, args.repeats)
        packages = ("torch", "transformers", "onnxruntime", "onnxscript")
        collected |= {"versions": versions(packages), "device": device_name(torch.device("cpu"))}
        args.json.write_text(json.dumps(collected, indent=2) + "\n", encoding="utf-8")
        Progress().log(f"{name} done")
    print(table(collected["data"]))


if __name__ == "__main__":
    main()
