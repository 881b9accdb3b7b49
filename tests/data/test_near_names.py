import pytest

from muka_fast.data.label_space import LabelSpace
from muka_fast.data.near_names import class_name_text, near_names


@pytest.mark.parametrize(
    ("name", "words"),
    [("rec.sport-hockey", "rec sport hockey"), ("bookFlight_now", "book flight now"), ("LABEL", "label"), ("__", "__")],
)
def test_class_names_are_read_as_words(name, words):
    assert class_name_text(name) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sport", "Sports"),
        ("World News", "world-news"),
        ("cardArrival", "card_arrivals"),
        ("technology", "Technologies"),
        ("boxes", "BOX"),
        ("business", "Business."),
        ("nachrichten \u00fcber", "Nachrichten-\u00dcBER"),
    ],
)
def test_case_spaces_punctuation_and_plurals_do_not_count(one, other):
    space = LabelSpace.union({"a": [one, "x1"], "b": ["y22", other]})
    assert near_names(space) == [(0, 3, 1.0)]


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("organisation", "organization", True),
        ("colour", "color", True),
        ("lights_on", "lights_off", False),
        ("time", "timer", False),
        ("severity level 1", "severity level 2", False),
        ("c", "c++", False),
        ("positive", "negative", False),
        ("+", "-", False),
        ("!", "?", False),
    ],
)
def test_other_names_are_near_if_most_letters_match_and_all_numbers(one, other, near):
    found = near_names(LabelSpace.union({"a": [one, "x1"], "b": ["y22", other]}))
    assert [pair[:2] for pair in found] == ([(0, 3)] if near else [])
    assert all(0.9 <= pair.ratio < 1 for pair in found)


def test_classes_that_are_known_to_differ_are_not_near():
    assert near_names(LabelSpace.union({"a": ["sport", "sports"], "b": ["x", "y"]})) == []
    shared = LabelSpace.union({"a": ["sport", "x"], "b": ["Sport", "sports"], "c": ["sports", "z"]})
    assert near_names(shared) == []  # b has both
    assert near_names(LabelSpace.union({"one": ["balance", "x"], "two": ["balance", "y"]}, "prefix")) == []


def test_the_most_similar_pairs_come_first():
    space = LabelSpace.union({"a": ["organisation", "sport"], "b": ["organization", "sports"]})
    assert [pair[:2] for pair in near_names(space)] == [(1, 3), (0, 2)]
