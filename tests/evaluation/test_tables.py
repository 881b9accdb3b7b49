from pathlib import Path

import pytest

from muka_fast.config.loading import build_recipe
from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.run_record import Fidelity
from muka_fast.evaluation.tables import calibration_line, fidelity_line, model_card
from tests.helpers.records import record


def card(temperature=1.0, abstain_below=0.0, **sections):
    tree = {"teachers": ["o/a", "o/b"], "data": "t.txt", "student": "o/s", "output": "out"}
    space = LabelSpace.union({"a": ["x", "y"], "b": ["z", "w"]})
    calibration = {"temperature": temperature, "abstain_below": abstain_below}
    recipe = build_recipe(tree, where="t", base=Path("/base"))
    return model_card(recipe, space, record(calibration=calibration, **sections))


def test_a_low_fidelity_has_a_hint():
    low = fidelity_line(Fidelity(agreement=0.49, texts=60, held_out=False))
    assert low.startswith("fidelity: student and targets agree on 49.0 % of 60 training texts; more training.epochs")
    assert fidelity_line(Fidelity(agreement=0.9, texts=60, held_out=True)).endswith("90.0 % of 60 held-out texts")


def test_error_rates_of_the_most_confident_texts():
    test = record().test.model_copy(update={"risk_coverage": [(0.4, 0.0), (0.6, 0.01), (0.8, 0.05), (1.0, 0.088)]})
    assert calibration_line(test) == (
        "expected calibration error 4.4 %; error rate on the most confident 50, 80, 100 % of the texts: 1.0, 5.0, 8.8 %"
    )


def test_the_card_has_teachers_metrics_and_recipe():
    content = card()
    assert "| bank | org/bank | 2 | 75.0 % | 3.1 % |" in content
    assert "## Measured on 2345 labelled texts" in content
    assert "| student | 91.2 % | macro-F1: 89.4 % |" in content
    assert "17 texts with labels outside the label space are left out." in content
    assert content.rstrip().endswith("```")
    assert "Measured on" not in card(test=None)


def test_the_card_shows_both_ways_to_predict():
    assert 'model="path/to/this/folder", truncation=True)' in card()
    assert 'muka-fast predict path/to/this/folder "a text"' in card()
    assert "pipeline(" not in card(training=None)
    assert 'muka-fast predict path/to/this/folder "a text"' in card(training=None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"temperature": 1.3579}, "The latter divides the logits by the temperature 1.36; a pipeline does not."),
        ({"abstain_below": 0.5}, "The latter predicts no class below a probability of 0.5; a pipeline does not."),
        (
            {"temperature": 2.0, "abstain_below": 0.5},
            "the temperature 2 and predicts no class below a probability of 0.5",
        ),
    ],
)
def test_the_card_says_what_a_pipeline_leaves_out(given, expected):
    assert expected in card(**given)
    assert "a pipeline does not" not in card()
