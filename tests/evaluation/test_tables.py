import io
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from muka_fast.evaluation.evaluation_record import ClassMetrics
from muka_fast.evaluation.run_record import Fidelity
from muka_fast.evaluation.selection_record import ReliabilityStats
from muka_fast.evaluation.tables import (
    calibration_line,
    fidelity_line,
    markdown_table,
    summary_lines,
    terminal_table,
    weakest_classes,
)
from tests.helpers.records import record


def test_a_low_fidelity_has_a_hint():
    low = fidelity_line(Fidelity(agreement=0.49, texts=60, held_out=False))
    assert low.startswith("fidelity: student and targets agree on 49.0 % of 60 training texts; more training.epochs")
    assert fidelity_line(Fidelity(agreement=0.9, texts=60, held_out=True)).endswith("90.0 % of 60 held-out texts")


def test_error_rates_of_the_most_confident_texts():
    test = record().test.model_copy(update={"risk_coverage": [(0.4, 0.0), (0.6, 0.01), (0.8, 0.05), (1.0, 0.088)]})
    assert calibration_line(test) == (
        "expected calibration error 4.4 %; error rate on the most confident 50, 80, 100 % of the texts: 1.0, 5.0, 8.8 %"
    )


def test_the_weakest_classes_have_the_lowest_f1_and_then_the_most_texts():
    scores = {"a": (0.5, 3), "b": (1.0, 9), "c": (0.0, 1), "d": (0.5, 7)}
    classes = [
        ClassMetrics(name=name, precision=f1, recall=f1, f1=f1, support=support)
        for name, (f1, support) in scores.items()
    ]
    test = record().test
    test = test.model_copy(update={"metrics": test.metrics.model_copy(update={"classes": classes})})
    assert [one.name for one in weakest_classes(test)] == ["c", "d", "a"]
    assert [one.name for one in weakest_classes(test, 1)] == ["c"]


def test_a_bar_in_a_cell_does_not_end_it():
    assert markdown_table(["a", "b"], [["x|y", "z"]]) == "| a | b |\n| --- | --- |\n| x\\|y | z |"


def shown(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("width", range(40, 121, 4))
def test_a_table_breaks_no_word_and_no_number_in_a_narrow_terminal(width):
    header = ["teacher", "model", "max tokens", "texts cut", "live sites", "scoring"]
    row = ["a-teacher", "DistilBert, 66.4 M", "512", "12.5 %", "12/12 full", "120 min"]
    lines = shown(terminal_table(header, [row], "teachers", width=width), width)
    assert all(len(line) <= width for line in lines.splitlines())
    words = lines.replace(";", "").split()
    assert {"teachers", "a-teacher", "DistilBert,", "512", "12/12", "120", "min", *" ".join(header).split()} <= {
        word.rstrip(":") for word in words
    }
    assert words[words.index("12.5") + 1].startswith("%")


def test_wide_characters_count_twice():
    rows = [["여행: 항공편 변경", "97.3 %"], ["a", "1.0 %"]]
    lines = shown(terminal_table(["class", "F1"], rows, width=30), 30).splitlines()
    assert all(cell_len(line) <= 30 for line in lines)
    assert any("여행: 항공편 변경" in line and "97.3 %" in line for line in lines)


def test_a_run_ends_with_its_choice_its_doubt_and_its_time():
    run = record()
    lines = summary_lines(run)
    assert lines[0].startswith(f"most trusted on the {run.texts.used} unlabelled texts: ")
    assert lines[-1].startswith("time: ")
    reliability = ReliabilityStats(recall=0.913, lowest=0.71, in_doubt=True)
    selection = run.selection.model_copy(update={"reliability": reliability})
    line = summary_lines(run.model_copy(update={"selection": selection}))[1]
    assert line == "estimated recall of the choice, without labels: mean 91.3 %, lowest 71.0 %; it is in doubt"


def test_tables_need_neither_pydantic_nor_rich():
    code = (
        "import sys\nimport muka_fast.evaluation.tables\n"
        "heavy = {'pydantic', 'rich', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
