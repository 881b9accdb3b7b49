import yaml

from muka_fast.config.specs import LabelSpec
from muka_fast.data.label_space import LabelSpace
from muka_fast.pipeline.similar_labels import MOST_SHOWN, find_similar_labels

THREE = {"a": ["sport", "art"], "b": ["Sports", "food"], "c": ["SPORT.", "sport's", "foods"]}


def test_the_lines_of_the_recipe_merge_what_is_named():
    space = LabelSpace.union(THREE)
    advice = find_similar_labels(space, LabelSpec())
    assert {(pair.first, pair.second) for pair in advice.pairs} == {
        ("sport", "Sports"), ("sport", "SPORT."), ("Sports", "SPORT."), ("sport", "sport's"), ("Sports", "sport's"),
        ("food", "foods"),
    }  # fmt: skip
    assert "'sport' (a) and 'Sports' (b): names that differ in case, spaces, punctuation or plural only" in advice.lines
    pasted = yaml.safe_load(advice.lines.partition("in the recipe:\n")[2])
    assert pasted == {"labels": {"map": advice.label_map}}
    merged = LabelSpace.union(THREE, label_map=advice.label_map)
    assert merged.names == ("sport", "art", "food", "sport's")  # c has two of them: one is left
    again = find_similar_labels(merged, LabelSpec(map=advice.label_map))
    assert (again.pairs, again.lines, again.label_map) == ([], "", advice.label_map)


def test_the_lines_keep_the_map_and_the_other_keys_of_the_recipe():
    labels = {"a": ["sport", "art"], "b": ["games", "art"], "c": ["game", "x"]}
    spec = LabelSpec(same_name="prefix", map={"sport": "games"})
    space = LabelSpace.union(labels, "prefix", spec.map)
    advice = find_similar_labels(space, spec)
    assert advice.label_map == {"sport": "games", "game": "games"}
    assert yaml.safe_load(advice.lines.partition("in the recipe:\n")[2])["labels"]["same_name"] == "prefix"
    assert LabelSpace.union(labels, "prefix", advice.label_map).names == ("a/art", "games", "b/art", "x")


def test_an_earlier_target_may_become_another_class():
    labels = {"a": ["game", "art"], "b": ["sport", "food"], "c": ["games", "x"]}
    spec = LabelSpec(map={"sport": "games"})
    advice = find_similar_labels(LabelSpace.union(labels, label_map=spec.map), spec)
    assert advice.label_map == {"sport": "game", "games": "game"}
    assert LabelSpace.union(labels, label_map=advice.label_map).names == ("game", "art", "food", "x")


def test_names_cannot_move_the_cursor_and_many_pairs_are_cut():
    labels = {"a": [f"\x1b[{'abcdefghijklmnopqrstuvwxyz'[i]}one" for i in range(25)]}
    labels["b"] = [f"{name}s" for name in labels["a"]]
    advice = find_similar_labels(LabelSpace.union(labels), LabelSpec())
    assert len(advice.pairs) == len(advice.label_map) == 25
    assert f"and {25 - MOST_SHOWN} more" in advice.lines
    assert "\x1b" not in advice.lines


def test_names_cannot_reorder_the_lines_to_paste_and_those_mean_the_same():
    names = {"a": ["\u202espot"], "b": ["\u202espots"]}
    advice = find_similar_labels(LabelSpace.union(names), LabelSpec())
    assert "\u202e" not in advice.lines
    pasted = yaml.safe_load(advice.lines.partition("in the recipe:")[2])
    assert pasted["labels"]["map"] == advice.label_map != {}
