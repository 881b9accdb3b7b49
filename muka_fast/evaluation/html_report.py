"""The run's record as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Container, Sequence
from html import escape

from muka_fast.evaluation.run_record import Evaluation, RunRecord, SelectionStats, TeacherRecord, TrainingRecord
from muka_fast.evaluation.svg_charts import Axis, bars, histogram, line
from muka_fast.evaluation.tables import duration, fidelity_line, percent, result_rows
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


def _diagonal_share(counts: Sequence[Sequence[int]]) -> float:
    return sum(row[index] for index, row in enumerate(counts)) / max(1, sum(map(sum, counts)))


def _headline(record: RunRecord) -> str:
    texts = record.texts
    left_out = f"{texts.read:,} read, {texts.empty:,} empty, {texts.duplicate:,} repeated"
    tiles = [
        ("unlabelled texts", f"{texts.used:,}", left_out),
        ("teachers", f"{len(record.teachers):,}", ""),
        ("classes", f"{len(record.labels):,}", ""),
    ]
    if test := record.test:
        accuracy = percent(test.metrics.accuracy)
        tiles.append((f"{test.classifier} accuracy", accuracy, f"on {test.metrics.count:,} labelled texts"))
    tiles.append(("time", duration(sum(record.seconds.values())), record.device))
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd></div>"
        for name, value, remark in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _teachers(teachers: Sequence[TeacherRecord]) -> str:
    header = ["teacher", "model", "classes", "maximum tokens", "texts cut", "passes per text", "chosen for"]
    rows = [
        [
            teacher.name,
            teacher.model,
            f"{teacher.num_labels:,}",
            f"{teacher.max_length:,}",
            percent(teacher.truncated_share),
            f"{teacher.mean_passes:.1f}",
            percent(teacher.chosen_share),
        ]
        for teacher in teachers
    ]
    return _table(header, rows, range(2, len(header)))


def _classes(record: RunRecord) -> str:
    """Write the label space by label group: the classes that the same set of teachers knows."""
    selection = record.selection
    groups: dict[str, list[str]] = {}
    for label, known_to in zip(record.labels, selection.known_to, strict=True):
        groups.setdefault(" + ".join(selection.teachers[teacher] for teacher in known_to), []).append(label)
    parts = []
    for group, names in groups.items():
        chips = "".join(f'<li dir="auto">{escape(name)}</li>' for name in names)
        count = f"{len(names):,} {'class' if len(names) == 1 else 'classes'}"
        summary = f"<summary>{escape(group)} <small>{count}</small></summary>"
        opened = " open" if len(record.labels) <= _FOLDED else ""
        parts.append(f'<details{opened}>{summary}<ul class="chips">{chips}</ul></details>')
    return "".join(parts)


def _weights(selection: SelectionStats) -> str:
    rows = [
        (name, count, f"{count:,} texts, {percent(share)}")
        for name, count, share in zip(selection.teachers, selection.chosen, selection.chosen_share, strict=True)
    ]
    chosen = _figure("Texts by teacher of largest weight", bars("Texts by teacher of largest weight", rows))
    name = "largest weight minus second largest"
    margin = histogram("Texts by margin of the weights", name, {"chosen": selection.margin})
    return f'<div class="charts pair">{chosen}{_figure("Texts by margin of the weights", margin)}</div>'


def _side_by_side(selection: SelectionStats) -> str:
    teachers, counts = selection.teachers, selection.score_by_selection
    parts = [
        _note(
            f"The per-text score, 1 − predictive entropy / ln C, and the selection choose the same teacher for "
            f"{percent(_diagonal_share(counts))} of the texts. Percentages are shares of a row."
        ),
        _cross_table("Score and selection", "score ↓ / selection →", teachers, counts),
    ]
    if kappa := selection.kappa:
        fallback = f"It must be above {KAPPA_SLIGHT}: the run fell back to the per-text rule. "
        parts += [
            _note(
                f"The mixture has two views: the teachers' likelihood ratios, and the gating network on text embedding "
                f"and teacher features. After the joint fit they choose the same teacher for "
                f"{percent(_diagonal_share(kappa.contingency))} of the texts. Before it, Cohen's kappa of likelihood "
                f"and embedding-only gate is {kappa.kappa:.3f} (0: chance, 1: equality), with a lower bound of "
                f"{kappa.kappa_lower_bound:.3f} (95 %). {fallback if kappa.views_disagree else ''}"
                f"Estimated share of texts that are in-domain for no teacher: {percent(kappa.background)}."
            ),
            _cross_table("Likelihood and gate", "likelihood ↓ / gate →", teachers, kappa.contingency),
        ]
    return "".join(parts)


def _entropies(selection: SelectionStats) -> str:
    charts = (
        _figure(
            name,
            histogram(
                f"Predictive entropy of {name}",
                "predictive entropy / ln C",
                {"chosen": texts.chosen, "other": texts.other},
            ),
        )
        for name, texts in zip(selection.teachers, selection.entropy, strict=True)
    )
    key = _key("texts for which it has the largest weight", "other texts")
    note = _note("0: one class has all the probability; 1: all classes are equally probable.")
    return f'{note}{key}<div class="charts">{"".join(charts)}</div>'


def _passes(selection: SelectionStats, audit: Audit | None) -> str:
    rows = [(f"{number:,} passes", count, f"{count:,} texts") for number, count in selection.passes]
    note = _note(f"{audit}.".capitalize()) if audit else ""
    return note + _figure("Texts by passes used", bars("Texts by passes used", rows))


def _test(test: Evaluation) -> str:
    who = test.classifier
    parts = [_table(["", "accuracy", ""], result_rows(test), numbers=[1])]
    if unknown := sum(test.unknown_labels.values()):
        parts.append(_note(f"{unknown:,} texts with labels outside the label space are left out."))
    error = percent(test.expected_calibration_error)
    parts.append(_note(f"Expected calibration error of the {who}: {error}."))
    percentages = [(100 * coverage, 100 * risk) for coverage, risk in test.risk_coverage]
    name = "texts answered, most confident first, %"
    chart = line("Error rate by share of texts answered", Axis(name, 100), "error rate, %", {"chosen": percentages})
    parts.append(_figure(f"Risk and coverage of the {who}", chart))
    if confusion := test.group_confusion:
        caption = "Confusion of label groups: classes that the same teachers know"
        parts.append(_cross_table(caption, "true ↓ / predicted →", confusion.groups, confusion.counts))
    return "".join(parts)


def _least_certain(selection: SelectionStats) -> str:
    items = ""
    for text in selection.least_certain:
        votes = sorted(zip(selection.teachers, text.teachers, strict=True), key=lambda vote: -vote[1].weight)
        chips = "".join(
            f"<li><b>{escape(name)} {percent(vote.weight)}</b> {escape(vote.label)} "
            f"<small>{percent(vote.probability)}</small></li>"
            for name, vote in votes
        )
        items += f'<li><p dir="auto">{escape(text.text)}</p><ul class="chips">{chips}</ul></li>'
    note = _note("Each teacher with its weight, its most likely class, and the probability of that class.")
    return f'{note}<ol class="texts">{items}</ol>'


def _training(training: TrainingRecord | None) -> str:
    if training is None:
        return ""
    # A rounded divergence may lie a little below zero.
    losses = {
        "other": [(entry.step, max(0.0, entry.loss)) for entry in training.history if entry.loss is not None],
        "chosen": [(e.step, max(0.0, e.eval_loss)) for e in training.history if e.eval_loss is not None],
    }
    series = {kind: points for kind, points in losses.items() if points}
    if not series:
        return ""
    steps = Axis("optimiser steps", max(step for points in series.values() for step, _ in points), True)
    best = f"; best validation loss {training.best_loss:.4f}" if training.best_loss is not None else ""
    notes = _note(f"{training.steps:,} steps{best}.")
    if training.fidelity:
        notes += _note(f"{fidelity_line(training.fidelity)}.".capitalize())
    return notes + _key("validation", "training") + line("Loss by step", steps, "distillation loss", series)


def report_page(record: RunRecord, recipe: str) -> str:
    """Return a run as one HTML file that loads nothing from outside.

    Args:
        record: The run's record.
        recipe: The resolved recipe, YAML.
    """
    title = f"A classifier over {len(record.labels)} classes, merged from {len(record.teachers)} teachers"
    selection, test = record.selection, record.test
    stages = [(name, value, f"{value:,.1f} s") for name, value in record.seconds.items()]
    machine = {"device": record.device, "processes": record.processes, "seed": record.seed}
    environment = [(key, str(value)) for key, value in (record.versions | machine).items()]
    sections = [
        _headline(record),
        _section("Teachers and classes", _teachers(record.teachers), _classes(record)),
        _section("Teacher weights", _weights(selection)),
        _section(f"Score and {'gate' if selection.kappa else 'selection'} side by side", _side_by_side(selection)),
        _section("Predictive entropy by teacher", _entropies(selection)),
        _section("Passes used", _passes(selection, record.audit)),
        _section(f"Measured on {test.metrics.count:,} labelled texts", _test(test)) if test else "",
        _section("Least certain texts", _least_certain(selection)),
        _section("Time by stage", bars("Seconds by stage", stages) if stages else ""),
        _section("Training", _training(record.training)),
        _section("Versions and device", _table([], environment)),
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
