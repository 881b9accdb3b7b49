"""Results of ``accuracy.py``: kept in a Parquet file, shown as Markdown tables."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

ORDER = (
    *("muka", "muka, no margin", "muka, hard", "single-pass entropy", "energy", "vkd", "uhc", "dfa", "cfl"),
    *("pool", "pool, hard", "pool, passes", "ensemble", "oracle", "supervised"),
)
"""Order of the methods in a table."""
LEAST_GAP = 5.0
"""Points by which the oracle must be better for a ratio to count."""
FORMER_COLUMNS = {"auroc_nobody": "auroc_background"}
"""Names of columns in results that were written before they were renamed."""


def read_results(path: Path) -> pd.DataFrame:
    """Read results, with the present names of their columns."""
    return pd.read_parquet(path).rename(columns=FORMER_COLUMNS)


def extend(path: Path, row: dict[str, Any]) -> None:
    """Add a row to the results; it replaces an earlier one of its setting, seed and method."""
    frame = pd.DataFrame([row])
    if path.exists():
        before = read_results(path)
        same = (before[["setting", "seed", "method"]] == frame.loc[0, ["setting", "seed", "method"]]).all(axis=1)
        frame = pd.concat([before[~same], frame], ignore_index=True)
    frame.sort_values(["setting", "method", "seed"]).to_parquet(path, index=False)


FORMER = {"weights": "the package's"}
"""What rows have that were written before the column was."""


def is_there(path: Path, key: dict[str, Any], settings: dict[str, Any], *, students: bool = True) -> bool:
    """Return whether the results have a row, with a student's accuracy if asked; exit if its settings differ."""
    if not path.exists():
        return False
    found = read_results(path)
    found = found[(found[list(key)] == list(key.values())).all(axis=1)]
    if students:
        found = found[found["accuracy"].notna()]
    for name, value in settings.items():
        stored = found[name].iloc[0] if len(found) and name in found else FORMER.get(name)
        if len(found) and stored != value:
            raise SystemExit(f"{path} has {key} with {name} {stored}, now {value}; give another --results")
    return len(found) > 0


def methods_of(frame: pd.DataFrame) -> list[str]:
    """Return the methods of the results in the order of tables, unknown ones last."""
    found = set(frame["method"])
    return [*(method for method in ORDER if method in found), *sorted(found - set(ORDER))]


def table(frame: pd.DataFrame) -> str:
    """Return a Markdown table with a row per setting and method: mean ± standard deviation over the seeds."""
    lines = [
        "| setting | method | seeds | right teacher | pseudo-label | **student** | macro-F1 | passes a teacher |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for setting in sorted(frame["setting"].unique()):
        for method in methods_of(frame):
            rows = frame[(frame["setting"] == setting) & (frame["method"] == method)]
            if len(rows):
                cells = [spread(rows[column]) for column in ("chosen", "pseudo", "accuracy", "macro_f1")]
                cells[2] = f"**{cells[2]}**"
                passes = rows["passes"].iloc[0]
                lines.append(f"| {setting} | {method} | {len(rows)} | {' | '.join(cells)} | {passes} |")
    return "\n".join(lines)


def selection(frame: pd.DataFrame) -> str:
    """Return a Markdown table with a row per setting: by method the share of the pool with the right teacher."""
    shown = [method for method in ORDER if (frame["method"] == method).any()]
    return _chosen(frame, shown, {method: method for method in shown})


def sweep(frame: pd.DataFrame) -> str:
    """Return a Markdown table of these shares by number of passes and scope, for the settings that have several.

    Only seeds with all numbers of passes of a setting count.
    """
    frame = frame[frame["method"].str.match(r"muka(, K = \d+.*)?$")]
    every = frame.groupby("setting")["method"].transform("nunique")
    frame = frame[(every > 1) & (frame.groupby(["setting", "seed"])["method"].transform("nunique") == every)]
    names = {
        name: name.removeprefix("muka, ") if name != "muka" else f"K = {passes - 1}"
        for name, passes in zip(frame["method"], frame["passes"], strict=True)
    }
    return _chosen(frame, sorted(names, key=lambda name: (names[name].count(","), _number(names[name]))), names)


def _number(name: str) -> int:
    return int(re.search(r"\d+", name)[0])


def _chosen(frame: pd.DataFrame, methods: list[str], names: dict[str, str]) -> str:
    lines = [
        f"| setting | texts | {' | '.join(names[name] for name in methods)} |",
        "|---|---|" + "---|" * len(methods),
    ]
    for setting in sorted(frame["setting"].unique()):
        rows = frame[frame["setting"] == setting]
        cells = [spread(rows[rows["method"] == method]["chosen"]) for method in methods]
        lines.append(f"| {setting} | {rows['texts'].iloc[0]:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ood_detection(frame: pd.DataFrame) -> str:
    """Return a Markdown table: the area under the ROC curve of detecting texts that are out of every domain."""
    scores = ("entropy", "energy", "background")
    lines = [f"| setting | texts | {' | '.join(scores)} |", "|---|---|" + "---|" * len(scores)]
    if "auroc_background" in frame:
        frame = frame[(frame["method"] == "pool") & frame["auroc_background"].notna()]
        for setting in sorted(frame["setting"].unique()):
            rows = frame[frame["setting"] == setting]
            cells = [spread(rows[f"auroc_{name}"]) for name in scores]
            lines.append(f"| {setting} | {rows['texts'].iloc[0]:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(frame: pd.DataFrame) -> str:
    """Return a Markdown table with a row per setting: students' accuracy by method, and the share of right teachers.

    The gap is the difference between ``muka`` and ``oracle``; the closed part is the gain of ``pool`` over ``muka``, on
    the seeds that all three have. Over all settings, gains and gaps are summed before they are divided.
    """
    shown = ("muka", "vkd", "uhc", "pool", "oracle", "supervised")
    lines = [
        f"| setting | right teacher: muka, pool | {' | '.join(shown)} | gap closed |",
        "|---|---|" + "---|" * (len(shown) + 1),
    ]
    gains, gaps = [], []
    for setting in sorted(frame["setting"].unique()):
        rows = {name: frame[(frame["setting"] == setting) & (frame["method"] == name)] for name in shown}
        cells = [spread(found["accuracy"]) for found in rows.values()]
        cells[shown.index("pool")] = f"**{cells[shown.index('pool')]}**"
        three = [rows[name].set_index("seed")["accuracy"] for name in ("muka", "pool", "oracle")]
        paper, ours, best = pd.concat(three, axis=1, join="inner").mean().tolist()
        gap = "–"
        if not math.isnan(best):  # NaN where a method is missing
            gains, gaps = [*gains, ours - paper], [*gaps, best - paper]
            gap = f"{gains[-1] / gaps[-1]:.0%}" if best > paper else "–"
        chosen = ", ".join(spread(rows[name]["chosen"]) for name in ("muka", "pool"))
        lines.append(f"| {setting} | {chosen} | {' | '.join(cells)} | {gap} |")
    if sum(gaps) > 0:
        lines.append(f"\nGap closed over all settings: {sum(gains) / sum(gaps):.0%}.")
    return "\n".join(lines)


def students(frame: pd.DataFrame) -> str:
    """Return a Markdown table of the students of ``pool`` beside those of the paper's score from one pass.

    A row per setting, then the means. The gap closed is (pool − entropy) / (oracle − entropy), in the last row the mean
    of the ratios over the settings whose oracle is at least 5 points better. Settings without all three are left out.
    """
    names = {"entropy": "single-pass entropy", "pool": "pool", "oracle": "oracle"}
    part = frame[frame["method"].isin(list(names.values()))]
    accuracy = 100 * part.pivot_table(index="setting", columns="method", values="accuracy").dropna()
    chosen = 100 * part.pivot_table(index="setting", columns="method", values="chosen").loc[accuracy.index]
    entropy, ours, best = (accuracy[name] for name in names.values())
    ratio = (ours - entropy) / (best - entropy).where(best - entropy >= LEAST_GAP)
    lines = [
        "| setting | right teacher: entropy, pool | entropy | pool | oracle | pool − entropy | gap closed |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting in accuracy.index:
        right = ", ".join(f"{chosen.loc[setting, names[name]]:.1f}" for name in ("entropy", "pool"))
        figures = " | ".join(f"{one[setting]:.1f}" for one in (entropy, ours, best))
        closed = "–" if math.isnan(ratio[setting]) else f"{ratio[setting]:.0%}"
        lines.append(f"| {setting} | {right} | {figures} | {ours[setting] - entropy[setting]:+.1f} | {closed} |")
    right = ", ".join(f"{chosen[names[name]].mean():.1f}" for name in ("entropy", "pool"))
    figures = " | ".join(f"{one.mean():.1f}" for one in (entropy, ours, best))
    lines.append(f"| **mean** | {right} | {figures} | {(ours - entropy).mean():+.1f} | {ratio.mean():.0%} |")
    return "\n".join(lines)


def plot(frame: pd.DataFrame, folder: Path) -> None:
    """Draw the students' accuracies, one group of bars per setting, as PNG and SVG; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    frame = frame[frame["accuracy"].notna()]
    settings = sorted(frame["setting"].unique())
    methods = methods_of(frame)
    figure, axes = pyplot.subplots(figsize=(max(6, 1.8 * len(settings)), 4))
    colours = pyplot.get_cmap("tab20")
    for index, method in enumerate(methods):
        rows = frame[frame["method"] == method].groupby("setting")["accuracy"]
        means, spreads = 100 * rows.mean().reindex(settings), 100 * rows.std().reindex(settings).fillna(0)
        places = [place + (index - len(methods) / 2) * 0.8 / len(methods) for place in range(len(settings))]
        axes.bar(
            places, means, 0.8 / len(methods), yerr=spreads, label=method, color=colours(index), error_kw={"lw": 0.8}
        )
    axes.set_xticks(range(len(settings)), settings, fontsize=8)
    axes.set_ylabel("student accuracy, %")
    axes.legend(fontsize=7, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        figure.savefig(folder / f"accuracy.{ending}", dpi=144, facecolor="white", bbox_inches="tight")


def spread(values: pd.Series) -> str:
    """Write shares as percentages: mean ± sample standard deviation; of one value the value alone."""
    values = 100 * values.dropna()
    if not len(values):
        return "–"
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")
