"""Teachers whose deterministic part runs in ONNX Runtime: their choices and their speed, all forms interleaved.

For each data set (a folder that ``train_teachers.py`` wrote) every form scores the same texts twice: by the
deterministic pass alone, and by adaptive passes with K = 16. ``same choice``: share of texts for which the teacher of
least predictive entropy is the choice of the PyTorch form.

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
from data_sets import teachers_of, texts_of

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import TokenizedTexts
from muka_fast.models.teacher import Teacher
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.uncertainty.signals import Signals, normalised

FORMS = ("torch", "onnx", "onnx-int8")


STEPS = ("deterministic pass", "adaptive")
FORMER_KEYS = {
    "first look": "deterministic pass",
    "same_choice_by_first_look": "same_choice_by_deterministic_pass",
    "ms_a_text": "ms_per_text",
    "torch_time_over_it": "speedup_over_torch",
}
"""Names of keys in results that were written before they were renamed."""


def read_results(path: Path) -> dict[str, Any]:
    """Read results, with the present names of their keys."""
    return _rename_keys(json.loads(path.read_text(encoding="utf-8")))


def _rename_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {FORMER_KEYS.get(key, key): _rename_keys(inner) for key, inner in value.items()}
    return value


def choose_teachers(signals: list[Signals]) -> np.ndarray:
    """Return the teacher of least normalised predictive entropy, the paper's choice, (N,)."""
    return np.stack([normalised(one.predictive_entropy, one.logits.shape[1]) for one in signals]).argmin(0)


class Form:
    """The teachers in one form.

    Attributes:
        seconds: By step, of every turn.
        deterministic: Signals of the last deterministic pass, by teacher.
        adaptive: Signals of the last adaptive passes, by teacher.
    """

    def __init__(self, name: str, teachers: list[Teacher]) -> None:
        settings = UncertaintySpec(passes=16, adaptive=True, audit=0.0, teacher_form=name)
        self._pool, self._rule = TeacherPool(teachers, settings, 0, torch.device("cpu")), stopping_rule(settings)
        self.seconds: dict[str, list[float]] = {step: [] for step in STEPS}
        self.deterministic: list[Signals] = []
        self.adaptive: list[Signals] = []

    def tokenize(self, corpus: Corpus) -> list[TokenizedTexts]:
        """Tokenize texts for every teacher."""
        tokenized = []
        for index in range(len(self._pool)):
            with self._pool.teacher(index) as runner:
                tokenized.append(runner.tokenize(corpus))
        return tokenized

    def run_turn(self, corpus: Corpus, tokenized: list[TokenizedTexts]) -> None:
        """Time both steps once."""
        started = time.perf_counter()
        self.deterministic = []
        for index, texts in enumerate(tokenized):
            with self._pool.teacher(index) as runner:
                output = runner.deterministic_pass(corpus, texts, lambda _: None)
            self.deterministic.append(output.signals())
        middle = time.perf_counter()
        (scored,) = score_adaptively(self._pool, [corpus], self._rule, 0, lambda _: None)
        self.seconds["adaptive"].append(time.perf_counter() - middle)
        self.seconds["deterministic pass"].append(middle - started)
        self.adaptive = scored.signals

    def row(self, reference: Form, texts: int) -> dict[str, Any]:
        """Return the figures of this form beside those of the PyTorch form."""
        pairs = zip(self.deterministic, reference.deterministic, strict=True)
        differences = [np.abs(ours.logits - theirs.logits) for ours, theirs in pairs]
        same = choose_teachers(self.deterministic) == choose_teachers(reference.deterministic)
        row: dict[str, Any] = {
            "same_choice": float((choose_teachers(self.adaptive) == choose_teachers(reference.adaptive)).mean()),
            "same_choice_by_deterministic_pass": float(same.mean()),
            "largest_logit_difference": float(max(part.max() for part in differences)),
            "mean_logit_difference": float(np.mean([part.mean() for part in differences])),
        }
        for step in STEPS:
            median = statistics.median(self.seconds[step])
            row[step] = {
                "ms_per_text": 1000 * median / texts,
                "speedup_over_torch": statistics.median(reference.seconds[step]) / median,
            }
        return row


def measure(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Measure one data set."""
    corpus, _ = texts_of(folder, count)
    teachers = teachers_of(folder)
    forms = {name: Form(name, teachers) for name in FORMS}
    tokenized = forms["torch"].tokenize(corpus)
    for turn in range(repeats + 1):
        for form in forms.values():
            form.run_turn(corpus, tokenized)
            if turn == 0:  # it has warmed up
                form.seconds = {step: [] for step in STEPS}
    rows = {name: form.row(forms["torch"], len(corpus)) for name, form in forms.items()}
    return {"texts": len(corpus), "tokens": float(tokenized[0].lengths.mean()), "rows": rows}


def table(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| data, form | deterministic pass, ms per text | adaptive, ms per text | speed-up over torch | same choice "
        "| logit difference (mean, largest) |",
        "|---|---|---|---|---|---|",
    ]
    for name, data in results.items():
        for form, row in data["rows"].items():
            ratios = ", ".join(f"{row[step]['speedup_over_torch']:.2f}×" for step in STEPS)
            times = " | ".join(f"{row[step]['ms_per_text']:.2f}" for step in STEPS)
            difference = f"{row['mean_logit_difference']:.1e}, {row['largest_logit_difference']:.1e}"
            lines.append(f"| {name}, {form} | {times} | {ratios} | {row['same_choice']:.2%} | {difference} |")
    return "\n".join(lines)


def main() -> None:
    """Measure the data sets named on the command line, and write or extend the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=FOLDER", help="folders of train_teachers.py")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True, help="file to read, extend and write")
    args = parser.parse_args()
    collected = read_results(args.json) if args.json.exists() else {"data": {}}
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
