"""A run's record as a page: one HTML file that shows ``run.json`` and the recipe and asks for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from html import escape
from typing import Any

from muka_fast.evaluation.svg_charts import Axis, bars, histogram, line
from muka_fast.evaluation.tables import agreement_line, duration, percent, result_rows
from muka_fast.selection.mixture import KAPPA_SLIGHT
from muka_fast.uncertainty.stopping import Audit

_FOLDED = 30
"""Classes above which their names are folded away."""

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b2330; --soft: #566172; --line: #dbe1e8; --panel: #f5f7fa;
  --accent: #2463b0; --other: #b9c2ce; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #12161c; --ink: #e5e9ef; --soft: #9ba6b5;
  --line: #2d3541; --panel: #1a2029; --accent: #6aa6f0; --other: #505c6d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3, figcaption { font-size: .95rem; font-weight: 600; text-align: left; margin: 1rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.note, small, .key { color: var(--soft); font-size: .9em; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem 2rem; }
.charts.pair { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; max-width: 26rem; height: auto; font: 12px system-ui, sans-serif;
  fill: var(--soft); }
svg .name { fill: var(--ink); }
svg .track { fill: var(--panel); }
svg .chosen { fill: var(--accent); }
svg .other { fill: var(--other); }
svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg polyline.chosen { fill: none; stroke: var(--accent); }
svg polyline.other { fill: none; stroke: var(--other); }
.key i { display: inline-block; width: .8em; height: .8em; margin: 0 .4em 0 0; border-radius: 2px; }
.key i.chosen { background: var(--accent); }
.key i.other { background: var(--other); margin-left: 1em; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; margin: 0; }
.tiles div { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; }
.tiles dt { color: var(--soft); font-size: .9rem; }
.tiles dd { margin: 0; font-size: 1.6rem; font-weight: 600; line-height: 1.3; }
.tiles small { display: block; font-size: .5em; font-weight: 400; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
.number { text-align: right; }
.cross th, .cross td { padding: .35rem .7rem; }
.cross th { max-width: 9rem; }
.cross td { text-align: right; white-space: nowrap;
  background: color-mix(in srgb, var(--accent) calc(var(--share) * 45%), transparent); }
.cross td small { color: inherit; display: block; }
summary { cursor: pointer; padding: .3rem 0; font-weight: 600; }
.chips { display: flex; flex-wrap: wrap; gap: .35rem; list-style: none; margin: .2rem 0 .8rem; padding: 0; }
.chips li { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0 .5rem;
  font-size: .9rem; }
.texts { padding-left: 1.8rem; }
.texts > li { margin-bottom: .9rem; }
.texts p { max-width: none; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .9rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.45; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3, figcaption, summary, .note, .key { break-after: avoid; }
  figure, svg, tr, .note, .cross, .tiles div, .texts > li, .chips li { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  td { overflow-wrap: anywhere; }
  .cross th, .cross td { padding: .2rem .35rem; }
  pre { white-space: pre-wrap; overflow: visible; }
  .charts, .charts.pair { grid-template-columns: 1fr 1fr; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""


def _figure(caption: str, chart: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Container[int] = ()) -> str:
    """Write a table; the columns at ``numbers`` are set to the right."""

    def write(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="number"' if index in numbers else "" for index in range(len(cells))]
        filled = (f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(filled)}</tr>"

    head = f"<thead>{write('th', header)}</thead>" if header else ""
    body = "".join(write("td", row) for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _cross_table(caption: str, axes: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in names)
    body = ""
    for name, row in zip(names, counts, strict=True):
        shares = [count / max(1, sum(row)) for count in row]
        cells = (
            f'<td style="--share: {share:.3f}">{count:,} <small>{percent(share)}</small></td>'
            for count, share in zip(row, shares, strict=True)
        )
        body += f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'
    table = f"<thead><tr><th>{escape(axes)}</th>{head}</tr></thead><tbody>{body}</tbody>"
    title = escape(caption)
    return f'<h3>{title}</h3><div class="scroll"><table class="cross" aria-label="{title}">{table}</table></div>'


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def _note(content: str) -> str:
    return f'<p class="note">{escape(content)}</p>'


def _key(chosen: str, other: str) -> str:
    return f'<p class="key"><i class="chosen"></i>{escape(chosen)} <i class="other"></i>{escape(other)}</p>'


def _agreeing(counts: Sequence[Sequence[int]]) -> float:
    return sum(row[index] for index, row in enumerate(counts)) / max(1, sum(map(sum, counts)))


def _headline(record: dict[str, Any]) -> str:
    tiles = []
    if texts := record.get("texts"):
        left = f"{texts['read']:,} read, {texts['empty']:,} empty, {texts['duplicate']:,} repeated"
        tiles.append(("unlabelled texts", f"{texts['used']:,}", left))
    counted = {"teachers": record.get("teachers"), "classes": record.get("labels")}
    tiles += [(name, f"{len(values):,}", "") for name, values in counted.items() if values]
    if test := record.get("test"):
        student = test["student"]
        who = f"{test.get('classifier', 'student')} accuracy"
        tiles.append((who, percent(student["accuracy"]), f"on {student['count']:,} labelled texts"))
    if seconds := record.get("seconds"):
        tiles.append(("time", duration(sum(seconds.values())), record.get("device", "")))
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd></div>"
        for name, value, remark in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>' if tiles else ""


def _teachers(record: dict[str, Any]) -> str:
    """Write who was merged: a column for each key that the record has."""
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "name": ("teacher", str),
        "model": ("model", str),
        "labels": ("classes", "{:,}".format),
        "max_length": ("longest text, tokens", "{:,}".format),
        "truncated_share": ("texts cut", percent),
        "mean_passes": ("passes a text", "{:.1f}".format),
        "chosen_share": ("most trusted for", percent),
    }
    teachers = record.get("teachers", [])
    kept = [key for key in columns if all(key in teacher for teacher in teachers)]
    rows = [[columns[key][1](teacher[key]) for key in kept] for teacher in teachers]
    numbers = [index for index, key in enumerate(kept) if key not in ("name", "model")]
    return _table([columns[key][0] for key in kept], rows, numbers) if rows else ""


def _classes(record: dict[str, Any]) -> str:
    """Write the label union, classes that the same teachers know together."""
    labels, selection = record.get("labels", []), record.get("selection")
    blocks: dict[str, list[str]] = {}
    for index, label in enumerate(labels):
        known = [selection["teachers"][teacher] for teacher in selection["known_to"][index]] if selection else []
        blocks.setdefault(" + ".join(known) or "all", []).append(label)
    parts = []
    for block, names in blocks.items():
        chips = "".join(f'<li dir="auto">{escape(name)}</li>' for name in names)
        count = f"{len(names):,} {'class' if len(names) == 1 else 'classes'}"
        summary = f"<summary>{escape(block)} <small>{count}</small></summary>"
        opened = " open" if len(labels) <= _FOLDED else ""
        parts.append(f'<details{opened}>{summary}<ul class="chips">{chips}</ul></details>')
    return "".join(parts)


def _trust(selection: dict[str, Any]) -> str:
    teachers = selection["teachers"]
    rows = [
        (name, count, f"{count:,} texts, {percent(share)}")
        for name, count, share in zip(teachers, selection["chosen"], selection["chosen_share"], strict=True)
    ]
    chosen = _figure("Texts each teacher is most trusted for", bars("Texts by most trusted teacher", rows))
    name = "weight of the most trusted minus the next"
    margin = histogram("Texts by margin of the weights", name, {"chosen": selection["margin"]})
    return f'<div class="charts pair">{chosen}{_figure("How clearly: margin of the weights", margin)}</div>'


def _side_by_side(selection: dict[str, Any]) -> str:
    teachers, counts = selection["teachers"], selection["score_and_choice"]
    parts = [
        _note(
            f"The score of one text at a time, 1 − predictive entropy / ln C, and the selection choose the same "
            f"teacher for {percent(_agreeing(counts))} of the texts. Percentages are of a row."
        ),
        _cross_table("Score and selection", "score ↓ / selection →", teachers, counts),
    ]
    if views := selection.get("views"):
        parts += [
            _note(
                f"The mixture has two views: the teachers' (features and energies) and the text's (the gate on its "
                f"embedding and the features). They agree for {percent(_agreeing(views['counts']))} of the texts; "
                f"before they were fitted to each other, the gate on the embedding alone, with Cohen's kappa "
                f"{views['agreement']:.3f} (0: by chance, 1: always), with 95 % confidence above {views['bound']:.3f}. "
                + (f"{KAPPA_SLIGHT} is needed: trust was judged text by text. " if views["unsure"] else "")
                + f"Estimated share of texts that belong to no teacher: {percent(views['nobody'])}."
            ),
            _cross_table("Teachers' view and gate", "teachers' view ↓ / gate →", teachers, views["counts"]),
        ]
    return "".join(parts)


def _entropies(selection: dict[str, Any]) -> str:
    charts = (
        _figure(name, histogram(f"Predictive entropy of {name}", "predictive entropy / ln C", series))
        for name, series in zip(selection["teachers"], selection["entropy"], strict=True)
    )
    key = _key("texts it is most trusted for", "other texts")
    return f'{_note("0: sure of one class; 1: all classes alike.")}{key}<div class="charts">{"".join(charts)}</div>'


def _passes(selection: dict[str, Any], audit: dict[str, Any] | None) -> str:
    rows = [(f"{number:,} passes", count, f"{count:,} texts") for number, count in selection["passes"]]
    told = _note(f"{Audit(**audit)}.".capitalize()) if audit else ""
    return told + _figure("Texts by passes used", bars("Texts by passes used", rows))


def _test(test: dict[str, Any]) -> str:
    who = test.get("classifier", "student")
    parts = [_table(["", "accuracy", ""], result_rows(test), numbers=[1])]
    if foreign := sum(test["foreign"].values()):
        parts.append(_note(f"{foreign:,} texts with labels outside the label space are left out."))
    if "calibration_error" in test:
        told = f"Expected calibration error of the {who}'s confidence: {percent(test['calibration_error'])}."
        parts.append(_note(told))
    if points := test.get("risk_coverage"):
        percentages = [(100 * coverage, 100 * risk) for coverage, risk in points]
        name = "texts answered, the most confident first, %"
        chart = line("Error rate by share of texts answered", Axis(name, 100), "error rate, %", {"chosen": percentages})
        parts.append(_figure(f"Risk and coverage of the {who}", chart))
    if confusion := test.get("block_confusion"):
        caption = "Confusion between blocks: classes that the same teachers know"
        parts.append(_cross_table(caption, "true ↓ / predicted →", confusion["blocks"], confusion["counts"]))
    return "".join(parts)


def _least_certain(selection: dict[str, Any]) -> str:
    """Write the texts of the smallest margins."""
    items = ""
    for row in selection["least_certain"]:
        votes = sorted(zip(selection["teachers"], row["teachers"], strict=True), key=lambda vote: -vote[1]["weight"])
        chips = "".join(
            f"<li><b>{escape(name)} {percent(vote['weight'])}</b> {escape(vote['class'])} "
            f"<small>{percent(vote['probability'])}</small></li>"
            for name, vote in votes
        )
        items += f'<li><p dir="auto">{escape(row["text"])}</p><ul class="chips">{chips}</ul></li>'
    note = _note("Each teacher with its weight, its most likely class and that class's probability.")
    return f'{note}<ol class="texts">{items}</ol>'


def _training(training: dict[str, Any] | None) -> str:
    if training is None:
        return ""
    history = training.get("history", [])
    found: dict[str, list[tuple[float, float]]] = {"other": [], "chosen": []}
    for entry in history:
        for kind, key in (("other", "loss"), ("chosen", "eval_loss")):
            value = entry.get(key)
            if value is not None:  # a rounded divergence may lie a little below zero
                found[kind].append((entry["step"], max(0.0, value)))
    series = {kind: points for kind, points in found.items() if points}
    if not series:
        return ""
    steps = Axis("optimiser steps", max(step for points in series.values() for step, _ in points), True)
    best = training.get("best_loss")
    told = _note(f"{training['steps']:,} steps" + (f"; best validation loss {best:.4f}." if best is not None else "."))
    if agreement := training.get("agreement"):
        told += _note(f"In the end {agreement_line(agreement)}.")
    return told + _key("validation", "training") + line("Loss by step", steps, "distillation loss", series)


def report_page(record: dict[str, Any], recipe: str) -> str:
    """Return a run as one HTML file without references to anything outside it.

    Args:
        record: What ``run.json`` holds; a section whose key is missing is left out.
        recipe: The resolved recipe, YAML.
    """
    title = f"A classifier over {len(record['labels'])} classes" if "labels" in record else "A classifier"
    title += f", merged from {len(record['teachers'])} teachers" if "teachers" in record else ""
    selection, test, seconds = record.get("selection"), record.get("test"), record.get("seconds", {})
    other = "gate" if selection and selection.get("views") else "selection"
    stages = [(name, value, f"{value:,.1f} s") for name, value in seconds.items()]
    machine = {"device": record.get("device"), "processes": record.get("processes"), "seed": record.get("seed")}
    rows = {**record.get("versions", {}), **{key: value for key, value in machine.items() if value is not None}}
    sections = [
        _headline(record),
        _section("Teachers and classes", _teachers(record), _classes(record)),
        _section("Who was trusted", _trust(selection)) if selection else "",
        _section(f"Score and {other} side by side", _side_by_side(selection)) if selection else "",
        _section("Predictive entropy by teacher", _entropies(selection)) if selection else "",
        _section("Passes used", _passes(selection, record.get("audit"))) if selection else "",
        _section(f"Measured on {test['student']['count']:,} labelled texts", _test(test)) if test else "",
        _section("Least certain texts", _least_certain(selection)) if selection else "",
        _section("Time by stage", bars("Seconds by stage", stages) if stages else ""),
        _section("Training", _training(record.get("training"))),
        _section("Versions and device", _table([], [(key, str(value)) for key, value in rows.items()])) if rows else "",
        _section("Recipe", f"<pre>{escape(recipe)}</pre>"),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Even if something were not escaped, nothing on the page could run or be loaded.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )
