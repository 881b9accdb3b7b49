"""Suite ``pools``: what scoring costs with all teachers, through the code that ``muka-fast score`` runs.

Fixed and adaptive passes, and every form of teacher; the store's writing is left out. No floor: how many passes
adaptive texts take is not known before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from muka_fast.bench.inputs import Material
from muka_fast.bench.timer import OPTIONAL, Row, Run, Suite
from muka_fast.config.recipe import UncertaintySpec
from muka_fast.errors import MachineError
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool

FORMS = ("onnx", "onnx-int8")


def suite(material: Material, *, forms: bool = True) -> Suite:
    """Return the rows: texts scored by all teachers.

    Args:
        material: Teachers and texts.
        forms: Measure exported teachers too.
    """
    passes, count = material.passes, len(material.corpus)
    plain = _Rooms(material)

    def excused(form: str, scope: str = "full") -> tuple[type[Exception], ...]:
        return () if (form, scope) == ("torch", "full") else OPTIONAL

    def fixed(name: str, number: int, form: str = "torch", scope: str = "full") -> Row:
        set_up = partial(plain.fixed, number, form, scope)
        return Row(name, set_up, count, passes=max(1, number), excused=excused(form, scope))

    def adaptive(name: str, form: str = "torch") -> Row:
        return Row(name, partial(plain.adaptive, form), count, passes=None, excused=excused(form))

    rows = [fixed("one deterministic pass", 0), fixed(f"K = {passes}", passes)]
    rows += [fixed("K = 4", 4)] if passes > 4 else []
    rows += [fixed(f"K = {passes}, last-2", passes, scope="last-2"), adaptive(f"K ≤ {passes}, adaptive")]
    if forms:
        rows += [fixed("one deterministic pass, onnx", 0, "onnx")]
        rows += [adaptive(f"K ≤ {passes}, adaptive, {form}", form) for form in FORMS]
    settings = {"texts": count, "teachers": len(material.teachers), "passes": passes}
    return Suite("text", rows, (f"K = {passes}",), settings)


class _Rooms:
    """Teachers in memory, one room for each form and scope, shared by the rows."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.rooms: dict[tuple[str, str], TeacherPool] = {}

    def _settings(self, form: Any, scope: str, adaptive: bool) -> UncertaintySpec:
        return UncertaintySpec(
            passes=self.material.passes,
            adaptive=adaptive,
            audit=0.0,
            teacher_form=form,
            scope=scope,
            inject_dropout=self.material.inject_dropout,
        )

    def _room(self, form: str, scope: str) -> TeacherPool:
        if (form, scope) not in self.rooms:
            settings = self._settings(form, scope, form == "onnx-int8")
            self.rooms[form, scope] = TeacherPool(self.material.described, settings, 0, self.material.device)
        return self.rooms[form, scope]

    def fixed(self, passes: int, form: str, scope: str) -> Run:
        room, corpus = self._room(form, scope), self.material.corpus
        loaded = room.teacher(0)
        if loaded.engine.scope != scope:
            raise MachineError(f"its teachers have no scope {scope}")

        def one() -> None:
            for index in range(len(self.material.teachers)):
                teacher = room.teacher(index)
                teacher.score(corpus, teacher.tokenize(corpus), passes, lambda _: None)

        return one

    def adaptive(self, form: str) -> Run:
        room, rule = self._room(form, "full"), stopping_rule(self._settings(form, "full", True))
        count, parts = len(self.material.teachers), [self.material.corpus]
        return lambda: score_adaptively(room, count, parts, rule, 0, lambda _: None)
