"""Suite ``pools``: what scoring costs with all teachers, through the code that ``muka-fast score`` runs.

Fixed and adaptive passes, and every form of teacher; the store's writing is left out. No floor: how many passes
adaptive texts take is not known before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muka_fast.bench.material import Material
from muka_fast.bench.timing import Row, Run, Suite
from muka_fast.loaded import Room
from muka_fast.recipe import UncertaintySpec
from muka_fast.rounds import score_adaptively

FORMS = ("onnx", "onnx-int8")


def suite(material: Material, *, forms: bool = True) -> Suite:
    """Return the rows: texts scored by all teachers.

    Args:
        material: Teachers and texts.
        forms: Measure exported teachers too.
    """
    passes, count = material.passes, len(material.corpus)
    rows = [
        Row("one deterministic pass", _fixed(material, 0), count),
        Row(f"K = {passes}", _fixed(material, passes), count, passes=passes),
        *([Row("K = 4", _fixed(material, 4), count, passes=4)] if passes > 4 else []),
        Row(f"K = {passes}, last-2", _fixed(material, passes, scope="last-2"), count, passes=passes),
        Row(f"K ≤ {passes}, adaptive", _adaptive(material), count, passes=passes),
    ]
    for form in FORMS if forms else ():
        if form == "onnx":
            rows.append(Row(f"one deterministic pass, {form}", _fixed(material, 0, form), count, is_peer=True))
        rows.append(
            Row(f"K ≤ {passes}, adaptive, {form}", _adaptive(material, form), count, passes=passes, is_peer=True)
        )
    settings = {"texts": count, "teachers": len(material.teachers), "passes": passes}
    return Suite("text", rows, (f"K = {passes}",), settings)


def _fixed(material: Material, passes: int, form: Any = "torch", scope: str = "full") -> Callable[[], Run]:
    def set_up() -> Run:
        settings = UncertaintySpec(passes=passes, adaptive=False, teacher_form=form, scope=scope)
        room = Room(material.described, settings, 0, material.device)

        def one() -> None:
            for index in range(len(material.teachers)):
                loaded = room.teacher(index)
                loaded.score(material.corpus, loaded.encode(material.corpus), passes, lambda _: None)

        return one

    return set_up


def _adaptive(material: Material, form: Any = "torch") -> Callable[[], Run]:
    def set_up() -> Run:
        settings = UncertaintySpec(passes=material.passes, adaptive=True, audit=0.0, teacher_form=form)
        room = Room(material.described, settings, 0, material.device)
        parts = [material.corpus]
        return lambda: score_adaptively(room, len(material.teachers), parts, settings.rule, 0, lambda _: None)

    return set_up
