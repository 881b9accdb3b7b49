import pytest

from muka_fast.bench.subprocesses import FinishedCommand, run_command
from muka_fast.bench.suites import scaling
from muka_fast.bench.tables import suite_table


@pytest.mark.slow
def test_every_curve_has_cases_and_every_curve_of_time_an_exponent(run_inputs, command_runner):
    commands = []

    def runner(arguments, where):
        commands.append(list(arguments))
        # The first command starts a process, as it does for a user.
        return (run_command if len(commands) == 1 else command_runner)(arguments, where)

    sizes = scaling.Sizes(passes=(1, 2), lengths=(8, 16), processes=(1, 2), pools=(20, 40))
    found = scaling.measure_suite(run_inputs(passes=2, count=16), repeats=1, sizes=sizes, runner=runner)
    exponents = found["settings"]["exponents"]
    assert set(exponents) == {"passes", "length", "teachers", "texts", "processes"}
    assert all(case["seconds"] > 0 for case in found["cases"].values())
    assert found["cases"]["processes = 1"]["peak_bytes"] > 1e8
    assert [command[1] for command in commands] == ["muka_fast", "torch.distributed.run", "muka_fast", "muka_fast"]
    header, rows = suite_table("scaling", found)
    assert header == ["varied", "size: cost", "exponent"]
    assert len(rows) == 6
    assert rows[-1][-1] == f"{found['settings']['bytes_per_text']:,.0f} bytes per text"


def test_score_seconds_are_those_of_the_command_itself():
    output = 'launcher: hello\n{"kind": "score", "seconds": 2.5}\n'
    assert scaling.score_seconds(FinishedCommand(99.0, 10**6, output)) == 2.5


def test_exponent():
    assert scaling.exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0)
    assert scaling.exponent([1, 2, 4], [3, 6, 12]) == pytest.approx(1)
    assert scaling.exponent([1, 2, 4], [1, 4, 16]) == pytest.approx(2)
