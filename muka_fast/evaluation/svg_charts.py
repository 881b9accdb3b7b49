"""Charts as inline SVG: bars, histograms and lines. Colours and type sizes come from ``templates/report.css``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 350, 24, 162


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    content = "".join(parts)
    return f'<svg role="img" viewBox="0 0 {_WIDTH} {height}"><title>{escape(title)}</title>{content}</svg>'


def _text(x: float, y: float, content: str, anchor: str = "start", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def _step(high: float, whole: bool) -> float:
    """Return the distance between at most six ticks over 0…high: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(high / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if high / (factor * power) <= 5)
    return max(1.0, step) if whole else step


def _tick(value: float) -> str:
    """Write a value short enough for the left margin."""
    scale, suffix = next(((s, name) for s, name in ((1e6, "M"), (1e3, "k")) if value >= 10 * s), (1, ""))
    return f"{value / scale:,.10g}{suffix}"


@dataclass(frozen=True)
class Axis:
    """An axis from 0 to ``high`` > 0: name with unit, and whether its ticks are whole numbers."""

    name: str
    high: float
    whole: bool = False

    @property
    def ticks(self) -> list[float]:
        """Values to mark, from 0."""
        step = _step(self.high, self.whole)
        return [step * index for index in range(int(self.high / step + 1e-9) + 1)]

    def rounded(self) -> Axis:
        """Return the axis up to its next tick."""
        step = _step(self.high, self.whole)
        return Axis(self.name, step * math.ceil(self.high / step - 1e-9), self.whole)


def _position(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    return _LEFT + (_RIGHT - _LEFT) * point[0] / x.high, _BOTTOM - (_BOTTOM - _TOP) * point[1] / y.high


def _axes(x: Axis, y: Axis) -> list[str]:
    parts = [_text(_LEFT, 10, y.name), _text(_RIGHT, _HEIGHT - 4, x.name, "end")]
    for tick in y.ticks:
        height = _position(x, y, (0, tick))[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {height:.1f}H{_RIGHT}"/>')
        parts.append(_text(_LEFT - 6, height + 4, _tick(tick), "end"))
    parts += [_text(_position(x, y, (tick, 0))[0], _BOTTOM + 16, _tick(tick), "middle") for tick in x.ticks]
    return parts


def histogram(title: str, unit: str, series: Mapping[str, Sequence[int]]) -> str:
    """Draw counts in equal bins over 0…1, one series on top of the other; keys are the CSS classes."""
    bins = list(zip(*series.values(), strict=True))
    x, y = Axis(unit, 1), Axis("texts", max(1, *map(sum, bins)), True).rounded()
    parts = _axes(x, y)
    for index, counts in enumerate(bins):
        low, high = index / len(bins), (index + 1) / len(bins)
        parts.append(f"<g><title>{low:.2f} to {high:.2f}: {' + '.join(f'{count:,}' for count in counts)} texts</title>")
        base = 0
        for kind, count in zip(series, counts, strict=True):
            (left, top), (right, bottom) = _position(x, y, (low, base + count)), _position(x, y, (high, base))
            size = f'width="{right - left - 1:.1f}" height="{bottom - top:.1f}"'
            parts.append(f'<rect class="{kind}" x="{left + 0.5:.1f}" y="{top:.1f}" {size}/>' if count else "")
            base += count
        parts.append("</g>")
    return _svg(title, _HEIGHT, parts)


def line(title: str, x: Axis, y_name: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw lines through points; keys are the CSS classes."""
    y = Axis(y_name, max(value for points in series.values() for _, value in points) or 1).rounded()
    parts = _axes(x, y)
    for kind, points in series.items():
        positions = [_position(x, y, point) for point in points]
        parts.append(f'<polyline class="{kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in positions)}"/>')
        for (a, b), point in zip(positions, points, strict=True):
            hint = f"{point[0]:,.10g}: {point[1]:.4g}"
            parts.append(f'<circle class="{kind}" cx="{a:.1f}" cy="{b:.1f}" r="2.5"><title>{hint}</title></circle>')
    return _svg(title, _HEIGHT, parts)


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Draw a bar for each (name, value, text of the value), with the name above the bar."""
    high, parts = max(value for _, value, _ in rows) or 1, []
    for index, (name, value, words) in enumerate(rows):
        top = 32 * index
        short = name if len(name) <= 36 else name[:35] + "…"
        parts += [
            f"<g><title>{escape(name)}: {escape(words)}</title>",
            _text(0, top + 13, short, kind="name"),
            _text(_WIDTH, top + 13, words, "end"),
            f'<rect class="track" y="{top + 18}" width="{_WIDTH}" height="8" rx="2"/>',
            f'<rect class="chosen" y="{top + 18}" width="{_WIDTH * value / high:.1f}" height="8" rx="2"/></g>',
        ]
    return _svg(title, 32 * len(rows), parts)
