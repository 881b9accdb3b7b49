from html.parser import HTMLParser

import pytest

from muka_fast.evaluation.html_report import report_page
from muka_fast.evaluation.run_record import RunRecord
from tests.helpers.records import HOSTILE, record, record_tree, with_labels

VOID = {"meta", "br", "hr", "link", "img", "input"}


class Page(HTMLParser):
    """Parses a page, requires its tags to be balanced, and keeps headings, cells and attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.text[tag][-1] += data


RECIPE = "teachers: [bank, <script>]\nseed: 31\n"
SECTIONS = [
    "Measured on 2,345 labelled texts",
    "Weakest classes",
    "Most confused classes",
    "Calibration",
    "Teachers and classes",
    "Teacher weights",
    "Score and selection side by side",
    "Predictive entropy by teacher",
    "Passes used",
    "Least certain texts",
    "Time by stage",
    "Training",
    "Versions and device",
    "Recipe",
]


def test_every_section_is_there():
    page = Page(report_page(record(), RECIPE))
    assert page.text["h2"] == SECTIONS
    assert page.text["h1"] == ["A classifier over 3 classes, merged from 2 teachers"]
    assert page.text["pre"] == [RECIPE]


def test_headline_tiles():
    page = Page(report_page(record(), RECIPE))
    tiles = dict(zip(page.text["dt"], page.text["dd"], strict=True))
    assert tiles == {
        "student accuracy": "91.2 %on 2,345 labelled texts",
        "unlabelled texts": "1,2341,240 read, 2 empty, 4 repeated",
        "teachers": "2",
        "classes": "3",
        "time": "21 mincpu, 7 threads",
    }


def test_labelled_texts_have_a_tile_of_their_own():
    page = Page(report_page(record(selection=with_labels(100)), RECIPE))
    tiles = dict(zip(page.text["dt"], page.text["dd"], strict=True))
    assert tiles["unlabelled texts"] == "1,1341,240 read, 2 empty, 4 repeated"
    assert tiles["labelled texts"] == "100among those read"


def test_tables_hold_the_values_of_the_record():
    cells = Page(report_page(record(), RECIPE)).text["td"]
    teachers = [
        *("bank", "org/bank", "2", "128", "3.1 %", "3.5", "75.0 %"),
        *(HOSTILE, "org/<b>", "2", "128", "3.1 %", "3.5", "25.0 %"),
    ]
    results = cells[:15]
    assert results[:3] == ["teacher bank alone", "50.1 %", "own classes: 97.3 %"]
    assert results[-3:] == ["student", "91.2 %", "macro-F1: 89.4 %"]
    assert cells[15:25] == [
        *("save", "87.1 %", "86.2 %", "88.1 %", "200"),
        *("pay", "94.6 %", "94.2 %", "95.1 %", "1,100"),
    ]
    assert cells[25:31] == ["save", HOSTILE, "41", HOSTILE, "pay", "36"]
    assert cells[31:35] == ["1,101 96.2 %", "44 3.8 %", "33 2.8 %", "1,167 97.2 %"]
    assert cells[35:49] == teachers
    crosses = ["901 94.2 %", "55 5.8 %", "25 9.0 %", "253 91.0 %"]
    assert cells[49:53] == crosses
    assert cells[53:] == [
        "python",
        "3.12.1",
        "muka-fast",
        "0.1.0",
        "device",
        "cpu, 7 threads",
        "processes",
        "1",
        "seed",
        "31",
    ]


def test_charts_and_notes_hold_the_values_of_the_record():
    page = Page(report_page(record(), RECIPE))
    words = [*page.text["text"], *page.text["title"]]
    for value in ("926 texts, 75.0 %", "1,000 texts", "234 texts", "75.2 s", "1,200.5 s", "0.95 to 1.00: 1,000 texts"):
        assert value in words
    assert "0.00 to 0.05: 926 + 0 texts" in words
    assert {"0.95 to 1.00: 2,139 + 0 texts", "0.00 to 0.05: 0 + 206 texts"} <= set(words)  # right + wrong
    assert "0.95 to 1.00: 0 + 308 texts" in words
    assert {"50: 1", "100: 8.8", "210: 0.4321", "100: 1.5"} <= set(words)
    notes = " ".join(" ".join(page.text["p"]).split())
    assert "for 93.5 % of the texts" in notes  # (901 + 253) / 1234
    assert "class: 87.6 % as a mean over the teachers, 81.2 % for the teacher that is served worst." in notes
    assert "in doubt" not in notes
    assert "for 3 of 40 audited texts" in notes
    assert "17 texts with labels outside" in notes
    assert "Expected calibration error of the student: 4.4 %." in notes
    assert "210 steps; best validation loss 0.4321." in notes
    assert "Fidelity: student and targets agree on 45.4 % of 77 held-out texts; more" in notes
    votes = [item for item in page.text["li"] if "51.0 %" in item]
    assert f"{HOSTILE} 51.0 % {HOSTILE} 58.7 %" in votes


def test_the_page_runs_and_loads_nothing():
    content = report_page(record(), RECIPE)
    page = Page(content)
    assert "script" not in page.tags
    assert page.text["b"][0] == f"{HOSTILE} 51.0 %"  # as text
    assert not {"src", "href", "xlink:href", "srcset", "data", "action", "onload"} & {
        name for name, _ in page.attributes
    }
    for reference in ("http://", "https://", "url(", "@import", "@font-face"):
        assert reference not in content


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        (("training",), {"Training"}),
        (("training", "fidelity"), set()),
        (("training", "best_loss"), set()),
        (("audit",), set()),
        (("test", "group_confusion"), set()),
        (("test", "confidence"), set()),
        (("test", "selection"), set()),
        (("test", "selection", "routing_accuracy"), set()),
    ],
)
def test_an_optional_part_that_is_missing_takes_its_section_with_it(path, gone):
    tree = record_tree()
    part = tree
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = None
    shorter = report_page(RunRecord.model_validate(tree), RECIPE)
    assert Page(shorter).text["h2"] == [section for section in SECTIONS if section not in gone]
    assert len(shorter) < len(report_page(record(), RECIPE))


def test_without_labels_the_estimated_recall_comes_first():
    reference = {
        "texts": 500, "held_out": True, "mean_confidence": 0.8, "confidence_edges": [], "confidence": [500],
        "energy_threshold": 0.0, "below_threshold": 25, "classes": [500, 0, 0],
        "confidence_histogram": [*[0] * 18, 377, 123],
    }  # fmt: skip
    training = record_tree()["training"] | {"reference": reference}
    page = Page(report_page(record(test=None, training=training), RECIPE))
    assert page.text["h2"] == ["Estimated recall of the selection", "Confidence", *SECTIONS[4:]]
    assert (page.text["dt"][0], page.text["dd"][0]) == ("estimated recall", "87.6 %of the selection, without labels")
    assert "0.90 to 0.95: 377 texts" in page.text["title"]
    assert "500 texts that it was not trained on" in " ".join(" ".join(page.text["p"]).split())
    assert Page(report_page(record(test=None), RECIPE)).text["h2"] == [
        "Estimated recall of the selection", *SECTIONS[4:]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("empty", "gone"),
    [
        ({"least_certain": []}, "Least certain texts"),
        ({"passes": [[0, 1234]]}, "Passes used"),
        ({"entropy": [{"chosen": [0] * 20, "other": [0] * 20}] * 2}, "Predictive entropy by teacher"),
        ({"chosen": [0, 0], "margin": [0] * 20}, "Teacher weights"),
    ],
)
def test_a_section_without_values_is_left_out(empty, gone):
    page = Page(report_page(record(selection=record_tree()["selection"] | empty), RECIPE))
    assert page.text["h2"] == [section for section in SECTIONS if section != gone]


def test_classes_without_an_error_make_no_section():
    tree = record_tree()["test"] | {"confused": [], "group_confusion": None}
    tree["metrics"] = tree["metrics"] | {"classes": tree["metrics"]["classes"][2:]}
    page = Page(report_page(record(test=tree), RECIPE))
    assert page.text["h2"] == [SECTIONS[0], *SECTIONS[3:]]


def test_a_training_without_a_log_has_no_section():
    page = Page(report_page(record(training=record_tree()["training"] | {"history": []}), RECIPE))
    assert "Training" not in page.text["h2"]


def test_the_effect_of_given_labels_is_shown():
    effect = {"labelled": 57, "added": 0, "left_out": {}, "by_teacher": [1, 56], "rule_right": 43, "changed": 219}
    effect["known_shares"] = {}
    content = report_page(record(selection=record_tree()["selection"] | {"labels": effect}), RECIPE)
    assert "57 texts have a given label" in content
    assert "the choice of teacher for 219 other texts" in content
    assert "given label" not in report_page(record(), RECIPE)


def test_without_an_estimate_nothing_is_said_of_reliability():
    content = report_page(record(selection=record_tree()["selection"] | {"reliability": None}), RECIPE)
    assert Page(content).text["h2"] == SECTIONS
    assert "Estimated recall" not in content


def test_a_selection_in_doubt_is_named():
    reliability = record_tree()["selection"]["reliability"] | {"in_doubt": True}
    content = report_page(record(selection=record_tree()["selection"] | {"reliability": reliability}), RECIPE)
    assert "The selection is in doubt." in content


@pytest.mark.parametrize(("count", "folded"), [(30, False), (31, True)])
def test_many_classes_are_folded_away(count, folded):
    selection = record_tree()["selection"] | {"known_to": [[0, 1]] * count}
    page = Page(report_page(record(labels=[f"class {index}" for index in range(count)], selection=selection), ""))
    assert page.text["summary"] == [f"bank + {HOSTILE} {count} classes"]
    assert (("open", None) not in page.attributes) == folded
