import io
import re
import threading

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


LONG = "teacher distilbert: 12 labels, DistilBertForSequenceClassification, 0.5 M weights, 64 tokens, 6 dropout sites"


def test_a_long_line_is_broken_for_a_terminal():
    stream = io.StringIO()
    Progress(Console(file=stream, force_terminal=True, highlight=False, width=80, soft_wrap=True)).log(LONG)
    first, second = stream.getvalue().splitlines()
    assert first == LONG[: len(first)]
    assert second == f"  {LONG[len(first) + 1 :]}"


def test_a_file_has_one_line_for_each_message(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    Progress(Console(file=stream, highlight=False, width=80, soft_wrap=True)).log(LONG)
    assert stream.getvalue() == f"{LONG}\n"


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


def test_stage_that_fails_counts_until_its_failure(monkeypatch):
    _, progress = written()
    monkeypatch.setattr("time.perf_counter", iter([1.0, 3.0]).__next__)
    with pytest.raises(ValueError, match="boom"), progress.stage("score"):
        raise ValueError("boom")
    assert progress.seconds == {"score": 2.0}


@pytest.mark.parametrize("terminal", [False, True])
def test_task_ends_with_one_line_of_what_was_done(terminal):
    stream, progress = written(terminal)
    with progress.task("scoring", 1200, "texts") as advance:
        advance(1200)
    assert "scoring: 1,200 texts, " in stream.getvalue().splitlines()[-1]


class Waiting(Progress):
    """Sets an event with each line."""

    def __init__(self, stream, **options):
        super().__init__(Console(file=stream, width=200, highlight=False, **options), interval=0.01)
        self.written = threading.Event()

    def log(self, message, **fields):
        super().log(message, **fields)
        self.written.set()


def test_without_a_terminal_a_line_is_written_at_intervals_with_the_time_left():
    stream = io.StringIO()
    progress = Waiting(stream)
    with progress.task("scoring", 400, "texts") as advance:
        advance(100)
        progress.written.clear()
        assert progress.written.wait(60)
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"scoring: 100 of 400 texts, \d+ s so far, about \d+ s left", lines[-2])
    assert lines[-1].startswith("scoring: 400 texts, ")


def test_a_stage_reports_too_unless_a_task_runs_inside_it():
    stream = io.StringIO()
    progress = Waiting(stream)
    with progress.stage("selection"):
        assert progress.written.wait(60)
        with progress.task("encoding", 10, "texts"):
            progress.written.clear()
            assert progress.written.wait(60)
            inside = stream.getvalue().splitlines()[-1]
    assert re.fullmatch(r"selection: \d+ s so far", stream.getvalue().splitlines()[0])
    assert re.fullmatch(r"encoding: 0 of 10 texts, \d+ s so far", inside)


def test_lines_of_a_long_stage_show_minutes_and_seconds(monkeypatch):
    stream = io.StringIO()
    progress = Waiting(stream)
    times = iter([0.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times, 130.0))
    with progress.stage("selection"):
        assert progress.written.wait(60)
    assert stream.getvalue().splitlines()[0] == "selection: 2 min 10 s so far"


def test_a_stage_without_a_bar_reports_on_a_terminal_too():
    stream = io.StringIO()
    progress = Waiting(stream, force_terminal=True)
    with progress.stage("selection"):
        assert progress.written.wait(60)
    assert re.match(r"selection: \d+ s so far", stream.getvalue())


@pytest.mark.parametrize("terminal", [False, True])
def test_a_note_stands_beside_the_progress(terminal):
    stream = io.StringIO()
    progress = Waiting(stream, force_terminal=terminal)
    with progress.task("training", 4, "steps") as advance:
        advance(1)
        advance(0, "loss 0.531 [x]")
        progress.written.clear()
        advance(1)
        assert terminal or progress.written.wait(60)
    assert "loss 0.531 [x]" in stream.getvalue()


def test_in_a_notebook_the_line_of_a_task_changes_and_is_not_written_to_stderr(notebook, capsys):
    progress = Progress()
    with progress.task("scoring", 4, "texts") as advance:
        advance(4)
    progress.log("selection: done")
    assert re.fullmatch(r"scoring: 0 of 4 texts, 0 s so far", notebook[0])
    assert re.fullmatch(r"scoring: 4 texts, \d+\.\d s", notebook[-1])
    assert capsys.readouterr().err == "selection: done\n"


def test_a_given_console_is_written_to_in_a_notebook_too(notebook):
    stream, progress = written()
    with progress.task("scoring", 4, "texts") as advance:
        advance(4)
    assert stream.getvalue().startswith("scoring: 4 texts, ")
    assert notebook == []


def test_a_name_is_no_markup_on_a_terminal():
    stream, progress = written(True)
    with progress.task("scoring with banking [/v2] \x1b[2J", 1, "texts") as advance:
        advance(1)
    assert "banking [/v2]" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


def test_a_note_takes_no_room_from_the_count_and_the_times_of_a_narrow_terminal():
    stream = io.StringIO()
    progress = Progress(Console(file=stream, force_terminal=True, highlight=False, width=80))
    with progress.task("training the student", 1104, "steps") as advance:
        advance(552, "loss 0.702, validation loss 0.825")
        bars = progress.console._live_stack[-1]
        bars.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"552/1104 steps 0:00:\d\d left (0:00:\d\d|-:--:--) *\n  loss 0.702, validation loss 0.825", shown)
