import io

import pytest
from rich.console import Console

from muka_fast.runtime.progress import Progress


def written(terminal=False, **options):
    stream = io.StringIO()
    return stream, Progress(Console(file=stream, force_terminal=terminal, highlight=False, width=200), **options)


def test_log_writes_one_line_and_no_markup():
    stream, progress = written()
    progress.log("teacher [bold]x[/bold]: 3 labels")
    assert stream.getvalue() == "teacher [bold]x[/bold]: 3 labels\n"


def test_silent_progress_writes_nothing_but_keeps_the_times():
    stream, progress = written(silent=True)
    progress.log("hidden")
    with progress.stage("score"), progress.task("scoring", 4, "texts") as advance:
        advance(4)
    assert stream.getvalue() == ""
    assert list(progress.seconds) == ["score"]


def test_stage_adds_up_the_times_of_one_name(monkeypatch):
    _, progress = written()
    monkeypatch.setattr("time.perf_counter", iter([1.0, 3.0, 10.0, 15.0]).__next__)
    for _ in range(2):
        with progress.stage("score"):
            pass
    assert progress.seconds == {"score": 7.0}


def test_stage_that_fails_is_not_counted_as_finished():
    _, progress = written()
    with pytest.raises(ValueError, match="boom"), progress.stage("score"):
        raise ValueError("boom")
    assert progress.seconds == {}


@pytest.mark.parametrize("terminal", [False, True])
def test_task_ends_with_one_line_of_what_was_done(terminal):
    stream, progress = written(terminal)
    with progress.task("scoring", 1200, "texts") as advance:
        advance(1200)
    assert "scoring: 1,200 texts, " in stream.getvalue().splitlines()[-1]
