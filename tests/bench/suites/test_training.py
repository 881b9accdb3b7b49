import pytest
import torch

from muka_fast.bench.suites import training


@pytest.mark.slow
@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_the_students_steps_run_under_the_autocast_of_amalgamate(run_inputs, monkeypatch, half):
    seen = []
    monkeypatch.setattr(training, "autocast_type", lambda settings, device: half)
    monkeypatch.setattr(
        training, "backward_microbatched", lambda model, *_, **__: seen.append(torch.is_autocast_enabled("cpu"))
    )
    suite = training.build_suite(run_inputs(count=16), batches=1)
    suite.cases[0].set_up()()
    assert seen == [half is not None]
    assert {case.precision for case in suite.cases} == {"fp32" if half is None else "bf16"}
    assert suite.settings.get("autocast") == (None if half is None else "bfloat16")


def test_teachers_in_the_loop_run_once_or_k_times_more(run_inputs):
    suite = training.build_suite(run_inputs(count=16, passes=2), batches=1)
    steps = {case.name: case.set_up() for case in suite.cases}
    counts = {}
    for name, run in steps.items():
        forwards = []
        for model, _ in run.teachers:
            model.register_forward_hook(lambda *_, forwards=forwards: forwards.append(1))
        run()
        counts[name] = len(forwards)
    # Two teachers, one step.
    assert counts == {"stored targets": 0, "teachers in the loop, one pass": 2, "MUKI reference": 2 * (1 + 2)}
