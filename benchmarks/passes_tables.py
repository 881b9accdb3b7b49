"""Results of ``passes.py`` as Markdown tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from muka_fast.config.recipe import UncertaintySpec

DEFAULT = UncertaintySpec().confidence
"""Confidence of the default stopping rule."""


def table(results: dict[str, Any]) -> str:
    """Return the figures as Markdown tables: one of the rules, one of scope × K."""
    names = list(results)
    lines = [
        "| passes | " + " | ".join(f"{name}: right teacher / differs from K = 128 / cost" for name in names) + " |"
    ]
    lines.append("|---|" + "---|" * len(names))
    for key in dict.fromkeys(key for one in results.values() for key in one["rows"]):
        cells = []
        for name in names:
            one = results[name]["rows"].get(key)
            if one is None:
                cells.append("–")
                continue
            right, differs = 100 * one["right_teacher"], 100 * one["differs_from_128"]
            cells.append(f"{right:.1f} % / {differs:.1f} % / {one['cost']:.2f}")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    for name in names:
        one = results[name]
        fixed, adaptive = one["rows"]["full, K = 16"], one["rows"].get(f"full, adaptive {DEFAULT}")
        if adaptive is None:
            continue
        audit = one["audit"]
        low, high = audit["interval"]
        lines.append(
            f"\n{name}: {one['texts']} texts of {one['tokens']:.0f} tokens. Adaptive: {adaptive['passes']:.1f} passes "
            f"per text, {adaptive['cost_from_texts']:.2f} deterministic passes in all, tokenizing included, differs "
            f"from K = 128 for {adaptive['differs_from_128']:.2%} (fixed K = 16: {fixed['differs_from_128']:.2%}). "
            f"Audit: {audit['changed']} of {audit['audited']} changed, 95 % interval {low:.2%} to {high:.2%}, truth "
            f"{audit['truth']:.2%}."
        )
    costs = [
        rows[f"full, adaptive {DEFAULT}"]["cost_from_texts"]
        for rows in (one["rows"] for one in results.values())
        if f"full, adaptive {DEFAULT}" in rows
    ]
    if costs:
        lines.append(f"\nAdaptive, mean over {len(costs)} data sets: {np.mean(costs):.2f} deterministic passes in all.")
    return "\n".join(lines)
