import pytest
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.data.label_space import LabelSpace, normalize_label, rename_labels
from muka_fast.errors import LabelError


def test_union_merges_names_that_differ_in_case_spacing_and_unicode_form():
    space = LabelSpace.union({"a": ["Sport", "caf\u00e9"], "b": ["  SPORT ", "cafe\u0301", "World  News"]})
    assert space.names == ("Sport", "café", "World  News")
    assert space.union_index == ((0, 1), (0, 1, 2))
    assert space.membership.tolist() == [[True, True, False], [True, True, True]]


def test_same_names_in_another_order_keep_their_meaning():
    space = LabelSpace.union({"a": ["x", "y", "z"], "b": ["z", "x", "y"]})
    placed = {space.names[column]: share for column, share in zip(space.union_index[1], (0.7, 0.2, 0.1), strict=True)}
    assert placed == {"x": 0.2, "y": 0.1, "z": 0.7}


def test_prefix_keeps_shared_names_apart_and_leaves_others_alone():
    space = LabelSpace.union({"a": ["other", "x"], "b": ["Other", "y"]}, "prefix")
    assert space.names == ("a/other", "x", "b/Other", "y")


@pytest.mark.parametrize(
    "labels",
    [
        {"a": ["x", "a/x"], "b": ["x", "z"]},
        {"a": ["a/x", "x"], "b": ["x", "z"]},
        {"b": ["x", "A/X"], "a": ["x", "z"]},
        {"a": ["x", "y"], "b": ["x", "a/x"]},
    ],
)
def test_a_prefixed_name_that_is_taken_is_refused(labels):
    with pytest.raises(LabelError, match=r"two labels would be named '[aA]/[xX]'"):
        LabelSpace.union(labels, "prefix")


def test_error_names_the_shared_label_and_both_teachers():
    with pytest.raises(LabelError) as caught:
        LabelSpace.union({"a": ["x", "y"], "b": ["X", "z"]}, "error")
    assert "'x'" in caught.value.what
    assert caught.value.where == "teacher a and teacher b"


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1"], ["label 1", "x"], ["0", "1", "2"], ["Label-3", "y"]])
def test_placeholder_names_are_refused(names):
    with pytest.raises(LabelError, match="placeholders") as caught:
        LabelSpace.union({"a": names, "b": ["x", "y"]})
    assert "labels:" in caught.value.hint


def test_numbers_that_are_not_positions_are_names():
    assert LabelSpace.union({"a": ["1999", "2000"], "b": ["x", "y"]}).names[:2] == ("1999", "2000")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["x", " X "], "same name"), (["x", "  "], "empty name"), (["x", "\ud83d"], "half of a surrogate pair")],
)
def test_duplicate_and_empty_names_are_refused(names, message):
    with pytest.raises(LabelError, match=message):
        LabelSpace.union({"a": names, "b": ["p", "q"]})


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=6, unique=True), min_size=2, max_size=4))
def test_every_column_of_every_teacher_lands_on_its_own_name(label_sets):
    space = LabelSpace.union({f"t{i}": names for i, names in enumerate(label_sets)})
    assert len(set(space.names)) == len(space.names) == len({name for names in label_sets for name in names})
    for names, columns in zip(label_sets, space.union_index, strict=True):
        assert [space.names[column] for column in columns] == names


@given(st.text(max_size=20))
def test_fold_is_idempotent(name):
    assert normalize_label(normalize_label(name)) == normalize_label(name)


TWO = {"a": ["sport", "World"], "b": ["art", "Sports", "world"], "c": ["SPORTS!", "art"]}


def test_a_map_merges_classes_and_leaves_the_names_of_stored_scores():
    plain = LabelSpace.union(TWO)
    space = LabelSpace.union(TWO, label_map={" SPORT": "sports", "sports!": "Sports"})
    assert plain.names == ("sport", "World", "art", "Sports", "SPORTS!")
    assert space.names == ("World", "art", "Sports")
    assert space.union_index == ((2, 0), (1, 2, 0), (2, 1))
    assert space.membership.sum(0).tolist() == [2, 2, 3]
    assert LabelSpace.union(TWO, label_map={}) == plain
    prefixed = LabelSpace.union(TWO, "prefix", {"b/art": "c/art"})
    assert prefixed.names == ("sport", "a/World", "Sports", "b/world", "SPORTS!", "c/art")


@pytest.mark.parametrize(
    ("label_map", "what", "hint"),
    [
        ({"sprot": "Sports"}, "no class is named 'sprot'", "did you mean 'sport' or 'Sports'"),
        ({"sport": "Sport s"}, "no class is named 'Sport s'", "did you mean 'Sports' or 'SPORTS!' or 'sport'?"),
        ({"sport": "zebra"}, "no class is named 'zebra'", "muka-fast check"),
        ({"world": "World"}, "'world' and 'World' are one class without the map", "remove"),
        ({"sport": "sports", "SPORT": "art"}, "two entries for 'SPORT'", "keep one"),
        ({"sport": "sports", "Sports": "SPORTS!"}, "'sports' is to become 'SPORTS!'", "is to remain"),
        ({"sport": "sports", "sports": "sport"}, "'sports' is to become 'sport'", "is to remain"),
        ({"sports": "art"}, "'art' and 'Sports' would be one class, and teacher b has both", "different teachers only"),
        ({"sport": "art", "Sports": "art"}, "teacher b has both", "different teachers only"),
        ({"sport": "Sports", "World": "Sports"}, "'sport' and 'World' would be one class, and teacher a", "different"),
    ],
)
def test_maps_that_cannot_be_meant_are_refused(label_map, what, hint):
    with pytest.raises(LabelError) as refused:
        LabelSpace.union(TWO, label_map=label_map)
    assert what in refused.value.what
    assert refused.value.where == "labels.map"
    assert hint in refused.value.hint


def test_labels_of_texts_get_the_names_of_the_map():
    assert rename_labels(["Sport", "art", "x"], {"sport": "Sports"}) == ("Sports", "art", "x")
    assert rename_labels(["Sport"], None) == ("Sport",)


def test_many_classes_are_listed_by_the_teachers_that_know_them_within_80_columns():
    first, second = [f"class {number:02d}" for number in range(25)], [f"class {number:02d}" for number in range(20, 40)]
    lines = LabelSpace.union({"a": first, "b": second}).table().splitlines()
    assert [line.partition(":")[0] for line in lines if line[2] != " "] == ["  a (20)", "  a, b (5)", "  b (15)"]
    assert "  a, b (5): class 20, class 21, class 22, class 23, class 24" in lines
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count("class ") == 40
    assert len(LabelSpace.union({"a": first, "b": ["other"]}).table().splitlines()) == 27
