import copy
from html.parser import HTMLParser

import pytest

from muka_fast.evaluation.html_report import report_page

VOID = {"meta", "br", "hr", "link", "img", "input"}
HOSTILE = "<script>alert(\"x\")</script> & 'more'"


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


def record() -> dict:
    return {
        "schema_version": 1,
        "versions": {"python": "3.12.1", "muka-fast": "0.1.0"},
        "device": "cpu, 7 threads",
        "processes": 1,
        "seed": 31,
        "texts": {"read": 1240, "empty": 2, "duplicate": 4, "used": 1234},
        "labels": ["pay", "save", HOSTILE],
        "teachers": [
            {"name": "bank", "model": "org/bank", "labels": 2, "mean_passes": 3.5, "chosen_share": 0.75},
            {"name": HOSTILE, "model": "org/<b>", "labels": 2, "mean_passes": 3.5, "chosen_share": 0.25},
        ],
        "audit": {"audited": 40, "changed": 3, "texts": 1234, "passes": 4319},
        "training": {
            "agreement": {"share": 0.4543, "texts": 77, "held_out": True},
            "steps": 210,
            "best_loss": 0.4321,
            "history": [
                {"step": 100, "loss": 1.5},
                {"step": 100, "eval_loss": 0.75},
                {"step": 210, "loss": 0.5},
                {"step": 210, "eval_loss": 0.4321},
            ],
        },
        "selection": {
            "teachers": ["bank", HOSTILE],
            "known_to": [[0], [0, 1], [1]],
            "chosen": [926, 308],
            "chosen_share": [926 / 1234, 308 / 1234],
            "margin": [234, *[0] * 18, 1000],
            "entropy": [
                {"chosen": [926, *[0] * 19], "other": [0] * 19 + [308]},
                {"chosen": [308, *[0] * 19], "other": [0] * 19 + [926]},
            ],
            "passes": [[0, 1000], [16, 234]],
            "score_and_choice": [[901, 55], [25, 253]],
            "views": {
                "counts": [[880, 77], [66, 211]],
                "agreement": 0.6789,
                "bound": 0.6123,
                "unsure": False,
                "nobody": 0.0312,
            },
            "least_certain": [
                {
                    "id": "00000000000000ff",
                    "text": HOSTILE,
                    "margin": 0.02,
                    "teachers": [
                        {"weight": 0.49, "class": "save", "probability": 0.613},
                        {"weight": 0.51, "class": HOSTILE, "probability": 0.587},
                    ],
                }
            ],
        },
        "test": {
            "student": {"accuracy": 0.912, "macro_f1": 0.894, "count": 2345, "classes": []},
            "selection": {
                "teachers": {"bank": 0.501, HOSTILE: 0.402},
                "own": {"bank": 0.973, HOSTILE: 0.964},
                "oracle": 0.955,
                "selection": 0.934,
                "chosen": 0.981,
            },
            "foreign": {"other": 17},
            "calibration_error": 0.0437,
            "risk_coverage": [[0.5, 0.01], [1.0, 0.088]],
            "block_confusion": {"blocks": ["bank", "both"], "counts": [[1101, 44], [33, 1167]]},
        },
        "seconds": {"scoring": 75.25, "training": 1200.5},
    }


RECIPE = "teachers: [bank, <script>]\nseed: 31\n"
SECTIONS = [
    "Teachers and classes",
    "Who was trusted",
    "Score and gate side by side",
    "Predictive entropy by teacher",
    "Passes used",
    "Measured on 2,345 labelled texts",
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


def test_headline_figures():
    page = Page(report_page(record(), RECIPE))
    tiles = dict(zip(page.text["dt"], page.text["dd"], strict=True))
    assert tiles == {
        "unlabelled texts": "1,2341,240 read, 2 empty, 4 repeated",
        "teachers": "2",
        "classes": "3",
        "student accuracy": "91.2 %on 2,345 labelled texts",
        "time": "21 mincpu, 7 threads",
    }


def test_tables_hold_the_figures_of_the_record():
    cells = Page(report_page(record(), RECIPE)).text["td"]
    teachers = ["bank", "org/bank", "2", "3.5", "75.0 %", HOSTILE, "org/<b>", "2", "3.5", "25.0 %"]
    assert cells[: len(teachers)] == teachers
    crosses = ["901 94.2 %", "55 5.8 %", "25 9.0 %", "253 91.0 %", "880 92.0 %", "77 8.0 %", "66 23.8 %", "211 76.2 %"]
    assert cells[10:18] == crosses
    results = cells[18:33]
    assert results[:3] == ["teacher bank alone", "50.1 %", "own classes: 97.3 %"]
    assert results[-3:] == ["student", "91.2 %", "macro-F1: 89.4 %"]
    assert cells[33:37] == ["1,101 96.2 %", "44 3.8 %", "33 2.8 %", "1,167 97.2 %"]
    assert cells[37:] == [
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


def test_charts_and_notes_hold_the_figures_of_the_record():
    page = Page(report_page(record(), RECIPE))
    words = [*page.text["text"], *page.text["title"]]
    for figure in ("926 texts, 75.0 %", "1,000 texts", "234 texts", "75.2 s", "1,200.5 s", "0.95 to 1.00: 1,000 texts"):
        assert figure in words
    assert "0.00 to 0.05: 926 + 0 texts" in words
    assert "0.95 to 1.00: 0 + 308 texts" in words
    assert {"50: 1", "100: 8.8", "210: 0.4321", "100: 1.5"} <= set(words)
    notes = " ".join(page.text["p"])
    assert "for 93.5 % of the texts" in notes  # (901 + 253) / 1234
    assert (
        "for 88.4 % of the texts; before they were fitted to each other, the gate on the embedding alone, with" in notes
    )
    assert "with Cohen's kappa 0.679 (0: by chance, 1: always), with 95 % confidence above 0.612." in notes
    assert "belong to no teacher: 3.1 %" in notes
    assert "is needed" not in notes
    assert "for 3 of 40 audited texts" in notes
    assert "17 texts with labels outside" in notes
    assert "Expected calibration error of the student's confidence: 4.4 %." in notes
    assert "210 steps; best validation loss 0.4321" in notes
    assert "In the end the student says what its targets say for 45.4 % of 77 held-out texts; more" in notes
    votes = [item for item in page.text["li"] if "51.0 %" in item]
    assert f"{HOSTILE} 51.0 % {HOSTILE} 58.7 %" in votes


def test_nothing_is_run_or_loaded():
    content = report_page(record(), RECIPE)
    page = Page(content)
    assert "script" not in page.tags
    assert page.text["b"][0] == f"{HOSTILE} 51.0 %"  # as text
    assert not {"src", "href", "xlink:href", "srcset", "data", "action", "onload"} & {
        name for name, _ in page.attributes
    }
    for reference in ("http://", "https://", "url(", "@import", "@font-face"):
        assert reference not in content


def test_a_record_with_nothing_in_it_gives_the_recipe():
    page = Page(report_page({}, RECIPE))
    assert page.text["h2"] == ["Recipe"]
    assert "dl" not in page.tags
    assert page.text["pre"] == [RECIPE]


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        (("selection",), {SECTIONS[1], SECTIONS[2], SECTIONS[3], SECTIONS[4], SECTIONS[6]}),
        (("test",), {"Measured on 2,345 labelled texts"}),
        (("seconds",), {"Time by stage"}),
        (("training",), {"Training"}),
        (("training", "history"), {"Training"}),
        (("texts",), set()),
        (("audit",), set()),
        (("versions",), set()),
        (("device",), set()),
        (("test", "risk_coverage"), set()),
        (("test", "block_confusion"), set()),
        (("teachers", 0, "mean_passes"), set()),
    ],
)
def test_a_missing_key_takes_its_section_with_it(path, gone):
    shorter = copy.deepcopy(record())
    part = shorter
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    page = Page(report_page(shorter, RECIPE))
    assert page.text["h2"] == [section for section in SECTIONS if section not in gone]
    assert len(report_page(shorter, RECIPE)) < len(report_page(record(), RECIPE))


def test_without_two_views_the_score_stands_beside_the_selection():
    alone = record()
    alone["selection"]["views"] = None
    page = Page(report_page(alone, RECIPE))
    assert page.text["h2"][2] == "Score and selection side by side"
    assert "kappa" not in report_page(alone, RECIPE)


@pytest.mark.parametrize(("count", "folded"), [(30, False), (31, True)])
def test_many_classes_are_folded_away(count, folded):
    many = {"labels": [f"class {index}" for index in range(count)]}
    page = Page(report_page(many, ""))
    assert page.text["summary"] == [f"all {count} classes"]
    assert (("open", None) not in page.attributes) == folded
