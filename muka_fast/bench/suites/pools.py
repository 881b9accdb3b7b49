"""Suite ``pools``: the cost of scoring texts with all teachers, through the code that ``muka-fast score`` runs.

Fixed and adaptive passes, and every form of teacher. The store is not written. There is no roofline: the number of
adaptive passes is not known in advance.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.timer import OPTIONAL_ERRORS, Case, Run, Suite
from muka_fast.config.recipe import UncertaintySpec
from muka_fast.errors import MachineError
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool

FORMS = ("onnx", "onnx-int8")


def build_suite(inputs: BenchmarkInputs, *, forms: bool = True) -> Suite:
    """Return the cases: texts scored by all teachers.

    Args:
        inputs: Teachers and texts.
        forms: Measure exported teachers too.
    """
    passes, count = inputs.passes, len(inputs.corpus)
    pools = _TeacherPools(inputs)

    def allowed_errors(form: str, scope: str = "full") -> tuple[type[Exception], ...]:
        return () if (form, scope) == ("torch", "full") else OPTIONAL_ERRORS

    def fixed(name: str, passes: int, form: str = "torch", scope: str = "full") -> Case:
        set_up = partial(pools.fixed, passes, form, scope)
        return Case(name, set_up, count, passes=max(1, passes), allowed_errors=allowed_errors(form, scope))

    def adaptive(name: str, form: str = "torch") -> Case:
        return Case(name, partial(pools.adaptive, form), count, passes=None, allowed_errors=allowed_errors(form))

    cases = [fixed("one deterministic pass", 0), fixed(f"K = {passes}", passes)]
    cases += [fixed("K = 4", 4)] if passes > 4 else []
    cases += [fixed(f"K = {passes}, last-2", passes, scope="last-2"), adaptive(f"K ≤ {passes}, adaptive")]
    if forms:
        cases += [fixed("one deterministic pass, onnx", 0, "onnx")]
        cases += [adaptive(f"K ≤ {passes}, adaptive, {form}", form) for form in FORMS]
    settings = {"texts": count, "teachers": len(inputs.teachers), "passes": passes}
    return Suite("text", cases, (f"K = {passes}",), settings)


class _TeacherPools:
    """Teachers in memory: one pool per form and scope, shared by the cases."""

    def __init__(self, inputs: BenchmarkInputs) -> None:
        self.inputs = inputs
        self.pools: dict[tuple[str, str], TeacherPool] = {}

    def _settings(self, form: Any, scope: str, adaptive: bool) -> UncertaintySpec:
        return UncertaintySpec(
            passes=self.inputs.passes,
            adaptive=adaptive,
            audit=0.0,
            teacher_form=form,
            scope=scope,
            inject_dropout=self.inputs.inject_dropout,
        )

    def _pool(self, form: str, scope: str) -> TeacherPool:
        if (form, scope) not in self.pools:
            settings = self._settings(form, scope, form == "onnx-int8")
            self.pools[form, scope] = TeacherPool(self.inputs.described, settings, 0, self.inputs.device)
        return self.pools[form, scope]

    def fixed(self, passes: int, form: str, scope: str) -> Run:
        """Return a run of a fixed number of passes of every teacher."""
        pool, corpus = self._pool(form, scope), self.inputs.corpus
        with pool.teacher(0) as runner:
            if runner.engine.scope != scope:
                raise MachineError(f"the teachers have no scope {scope}")

        def run() -> None:
            for index in range(len(pool)):
                with pool.teacher(index) as runner:
                    runner.score(corpus, runner.tokenize(corpus), passes, lambda _: None)

        return run

    def adaptive(self, form: str) -> Run:
        """Return a run of adaptive passes of all teachers."""
        pool, rule = self._pool(form, "full"), stopping_rule(self._settings(form, "full", True))
        return lambda: score_adaptively(pool, [self.inputs.corpus], rule, 0, lambda _: None)
