from pathlib import Path

import pytest

from muka_fast.config.loading import build_recipe
from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.tables import agreement_line, model_card


def card(temperature=1.0, abstain_below=0.0, training=0):
    tree = {"teachers": ["o/a", "o/b"], "data": "t.txt", "student": "o/s", "output": "out"}
    record = {
        "teachers": [],
        "texts": {"used": 3},
        "training": training,
        "confidence": {"temperature": temperature, "abstain_below": abstain_below},
    }
    space = LabelSpace.union({"a": ["x", "y"], "b": ["z", "w"]})
    return model_card(build_recipe(tree, where="t", base=Path("/base")), space, record)


def test_hardly_learned_targets_are_told():
    told = agreement_line({"share": 0.49, "texts": 60, "held_out": False})
    assert told.startswith("the student says what its targets say for 49.0 % of 60 texts it was trained on;")
    assert agreement_line({"share": 0.9, "texts": 60, "held_out": True}).endswith("for 90.0 % of 60 held-out texts")


def test_the_card_shows_both_ways_to_predict():
    assert 'model="path/to/this/folder", truncation=True)' in card()
    assert 'muka-fast predict path/to/this/folder "a text"' in card()
    assert "pipeline(" not in card(training=None)
    assert 'muka-fast predict path/to/this/folder "a text"' in card(training=None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"temperature": 1.3579}, "The latter divides the logits by the temperature 1.36; a pipeline does not."),
        ({"abstain_below": 0.5}, "The latter names no class below a probability of 0.5; a pipeline does not."),
        ({"temperature": 2.0, "abstain_below": 0.5}, "the temperature 2 and names no class below a probability of 0.5"),
    ],
)
def test_the_card_says_what_a_pipeline_leaves_out(given, told):
    assert told in card(**given)
    assert "a pipeline does not" not in card()
