import re

import pytest
import yaml

from muka_fast.config.loading import build_recipe, read_recipe, template
from muka_fast.config.methods import find_method, method_names
from muka_fast.config.recipe import Recipe, TrainingSpec, UncertaintySpec
from muka_fast.config.specs import DataSpec, LabelSpec, StudentSpec, TeacherSpec
from muka_fast.distillation.training_args import num_training_steps
from muka_fast.errors import RecipeError
from tests.helpers.recipes import build, tree


def test_defaults_of_muka_are_the_papers():
    recipe = build(tree(), ["selection.method=muka"])
    assert (recipe.uncertainty.passes, recipe.selection.temperature, recipe.selection.targets) == (16, 0.2, "soft")
    assert recipe.selection.trust == "predictive-entropy"
    assert recipe.selection.margin_weighting
    assert (recipe.training.learning_rate, recipe.training.epochs, recipe.training.batch_size) == (2e-5, None, 16)
    assert num_training_steps(recipe.training, 16_000) == 3 * 1000


@pytest.mark.parametrize(
    ("extra", "key", "near"),
    [
        ({"uncertainty": {"pases": 4}}, "uncertainty.pases", "'passes'"),
        ({"techers": []}, "techers", "'teachers'"),
        ({"training": {"head": "random"}}, "training.head", "'head_init'"),
        ({"teachers": [{"model": "a", "lables": []}, "b"]}, "teachers.0.lables", "'labels'"),
        ({"student": {"model": "x", "tokeniser": "y"}}, "student.tokeniser", "'tokenizer'"),
        ({"test": {"texts": "x", "label_colum": "y"}}, "test.label_colum", "'label_column'"),
        ({"selection": {"labelled": {"texts": "x", "splt": "y"}}}, "selection.labelled.splt", "'split'"),
        ({"selection": {"encoder": {"model": "x", "revison": "y"}}}, "selection.encoder.revison", "'revision'"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(extra, key, near):
    with pytest.raises(RecipeError) as caught:
        build(tree(**extra))
    assert caught.value.what == f"unknown key {key!r}"
    assert near in caught.value.hint


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        ({"uncertainty": {"passes": "many"}}, "uncertainty.passes"),
        ({"uncertainty": {"passes": -1}}, "uncertainty.passes"),
        ({"uncertainty": {"teacher_form": "onnx-int8", "adaptive": False}}, "teacher_form"),
        ({"uncertainty": {"teacher_form": "onnx-int8", "scope": "tail"}}, "teacher_form"),
        ({"training": {"epochs": -1}}, "training.epochs"),
        ({"selection": {"method": "muka", "trust": "magic"}}, "selection.trust"),
        ({"teachers": ["org/a"]}, "1 teacher(s) given"),
        ({"teachers": ["org/a", "org/a"]}, "same teacher is listed twice"),
        ({"student": {}}, "either 'model'"),
        ({"student": {"config": "c.json"}}, "needs a 'tokenizer'"),
        ({"student": {"model": "x", "target_accuracy": 0.9, "abstain_below": 0.5}}, "either 'abstain_below'"),
        ({"student": {"model": "x", "target_accuracy": 0.9}}, "needs a method that trains a student, and labelled"),
    ],
)
def test_wrong_values_name_the_key(extra, part):
    with pytest.raises(RecipeError) as caught:
        build(tree(**extra))
    assert part in caught.value.what
    assert caught.value.where == "r.yaml"


def test_passes_default_to_what_the_trust_score_needs():
    energy, mc_energy = ({"method": "muka", "trust": trust} for trust in ("energy", "mc-energy"))
    assert build(tree(selection=energy)).uncertainty.passes == 0
    assert build(tree(selection=energy, uncertainty={"passes": 8})).uncertainty.passes == 8
    assert build(tree(selection=mc_energy)).uncertainty.passes == 16
    with pytest.raises(RecipeError, match=r"'mc-energy' needs 1 or more Monte-Carlo passes"):
        build(tree(selection=mc_energy, uncertainty={"passes": 0}))


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ({"file": "a", "dataset": "b"}, "teachers.0.labels: give one of 'file', 'dataset' and 'texts'"),
        ({}, "teachers.0.labels: give one of"),
        ({"file": "a", "feature": "b"}, "'feature' and 'config' are of a 'dataset'"),
        (["a", 1], "teachers.0.labels.1"),
        ({"fle": "a"}, "unknown key 'teachers.0.labels.fle'"),
        (3, "teachers.0.labels"),
    ],
)
def test_label_names_have_one_source(labels, what):
    with pytest.raises(RecipeError) as refused:
        build(tree(teachers=[{"model": "org/a", "labels": labels}, "org/b"]))
    assert what in refused.value.what
    assert ("did you mean 'file'?" in refused.value.hint) == ("fle" in str(labels))


def test_sources_of_label_names_start_from_the_recipe(tmp_path):
    (tmp_path / "set").mkdir()
    sources = [
        "names.txt",
        {"dataset": "set"},
        {"dataset": "org/set"},
        {"dataset": "hub:org/set"},
        {"texts": "few.csv"},
    ]
    teachers = [{"model": f"org/{index}", "labels": source} for index, source in enumerate(sources)]
    file, *sets, few = [one.labels for one in build_recipe(tree(teachers=teachers), where="r", base=tmp_path).teachers]
    assert file.file == str(tmp_path / "names.txt")
    assert [one.dataset for one in sets] == [str(tmp_path / "set"), "org/set", "hub:org/set"]
    assert few.texts.texts == [str(tmp_path / "few.csv")]
    with pytest.raises(RecipeError, match="no such data set folder"):
        build(tree(teachers=[{"model": "org/a", "labels": {"dataset": "./set"}}, "org/b"]))
    with pytest.raises(RecipeError, match=r"labels\.texts names the outputs of a model"):
        build(tree(teachers=[{"predictions": "a.csv", "labels": {"texts": "few.csv"}}, "org/b"]))


def test_missing_keys_are_named():
    with pytest.raises(RecipeError, match="lacks 'student'"):
        build({key: value for key, value in tree().items() if key != "student"})


def test_overrides_win_and_reach_into_shorthand_sections():
    recipe = build(tree(), ["uncertainty.passes=4", "data.text_column=body", "training.learning_rate=3e-4"])
    assert recipe.uncertainty.passes == 4
    assert (recipe.data.texts, recipe.data.text_column) == (["/base/t.txt"], "body")
    assert recipe.training.learning_rate == pytest.approx(3e-4)
    section = {"labelled": "few.csv", "encoder": "org/e"}
    overrides = ["selection.labelled.label_column=topic", "selection.encoder.revision=v1"]
    few = build(tree(selection=section), overrides).selection
    assert (few.labelled.texts, few.labelled.label_column) == (["/base/few.csv"], "topic")
    assert (few.encoder.model, few.encoder.revision) == ("org/e", "v1")


@pytest.mark.parametrize("assignment", ["passes", "=3", "seed.x=1", "seed=[1"])
def test_malformed_overrides_are_refused(assignment):
    with pytest.raises(RecipeError):
        build(tree(seed=1), [assignment])


def test_local_paths_start_from_the_recipe_and_hub_ids_stay(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree(teachers=["mine", "org/b"])), encoding="utf-8")
    recipe = read_recipe(tmp_path / "r.yaml")
    assert [teacher.model for teacher in recipe.teachers] == [str(tmp_path / "mine"), "org/b"]
    assert recipe.output == str(tmp_path / "out")


def test_a_path_that_does_not_exist_is_no_hub_id(tmp_path):
    (tmp_path / "models").mkdir()
    for missing in ("./a", "models/a", "a/b/c", "~/nowhere/x"):
        with pytest.raises(RecipeError, match="no such teacher folder"):
            build_recipe(tree(teachers=[missing, "org/b"]), where="r", base=tmp_path)


def test_a_resolved_recipe_reads_back_equal(tmp_path):
    recipe = build(tree(test={"texts": ["x.csv"]}, labels={"same_name": "prefix"}))
    (tmp_path / "recipe.yaml").write_text(recipe.dump(), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_yaml_errors_name_the_line(tmp_path):
    (tmp_path / "r.yaml").write_text("teachers: [a\ndata: x: y\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipe(tmp_path / "r.yaml")
    assert caught.value.where.endswith("r.yaml:2")


def test_the_template_is_a_valid_recipe(tmp_path):
    recipe = build_recipe(
        yaml.safe_load(template()) | {"teachers": ["o/a", "o/b"], "student": "o/s"}, where="t", base=tmp_path
    )
    plain = build_recipe(tree(), where="t", base=tmp_path)
    assert recipe.uncertainty == plain.uncertainty
    assert recipe.selection == plain.selection
    assert recipe.training == plain.training


def test_the_template_has_every_key():
    tree_ = yaml.safe_load(re.sub(r"(?m)^( *)# ([a-z_]+:( |$))", r"\1\2", template()))
    assert tree_.keys() == Recipe.model_fields.keys()
    assert set().union(*tree_["teachers"]) == TeacherSpec.model_fields.keys()
    assert tree_["data"].keys() | tree_["test"].keys() == DataSpec.model_fields.keys()
    sections = {
        "student": StudentSpec,
        "labels": LabelSpec,
        "uncertainty": UncertaintySpec,
        "training": TrainingSpec,
    }
    for key, section in sections.items():
        assert tree_[key].keys() == section.model_fields.keys()
    keys = {key for name in method_names() for key in find_method(name).model_fields}
    assert tree_["selection"].keys() == keys


def test_labelled_texts_are_paired_as_the_data_and_come_from_the_test_split():
    pairs = {"texts": "t.csv", "pair_column": "b"}
    for test in ("hub:o/n", {"texts": "hub:o/n"}, {"texts": "hub:o/n", "pair_column": None}):
        read = build(tree(data=pairs, test=test)).test
        assert (read.pair_column, read.split) == ("b", "test")
    told = build(tree(data=pairs, test={"texts": "hub:o/n", "pair_column": "c", "split": "train"})).test
    assert (told.pair_column, told.split) == ("c", "train")
    assert build(tree(test="hub:o/n")).test.pair_column is None
    assert build(tree(data="hub:o/n")).data.split == "train"


ENERGY = ("selection.method=muka", "selection.trust=energy")


@pytest.mark.parametrize(
    ("overrides", "starts"),
    [
        ([], []),
        (["uncertainty.scope=full", "uncertainty.passes=0"], []),
        (["uncertainty.scope=tail", "uncertainty.passes=4"], ["uncertainty.passes 4 only costs time; method 'pool'"]),
        (["selection.method=muka", "uncertainty.scope=tail", "uncertainty.adaptive=false"], []),
        (
            ["uncertainty.scope=tail", "uncertainty.adaptive=false", "uncertainty.inject_dropout=0.3"],
            ["no effect: uncertainty.scope, uncertainty.adaptive, uncertainty.inject_dropout; method 'pool'"],
        ),
        ([*ENERGY, "uncertainty.scope=head"], ["no effect: uncertainty.scope; trust 'energy'"]),
        (["selection.method=vkd", "uncertainty.passes=16"], ["uncertainty.passes 16 only costs time; method 'vkd'"]),
        ([*ENERGY, "uncertainty.passes=16"], ["uncertainty.passes 16 only costs time; trust"]),
        (["selection.method=vkd", "uncertainty.passes=16", "scores=shared"], []),
    ],
)
def test_settings_that_change_nothing_are_named(overrides, starts):
    recipe = build(tree(), overrides)
    for messages in (recipe.unused_settings(), build(yaml.safe_load(recipe.dump())).unused_settings()):
        assert [line.startswith(start) for line, start in zip(messages, starts, strict=True)] == [True] * len(starts)


def test_passes_stop_early_where_their_trust_score_says_when():
    def recipe(*overrides):
        return build(tree(), ["selection.method=muka", *overrides])

    assert recipe().resolved_uncertainty.runs_adaptively
    assert not recipe("uncertainty.adaptive=false").resolved_uncertainty.runs_adaptively
    assert not recipe("selection.trust=mc-energy").resolved_uncertainty.runs_adaptively
    assert not recipe("selection.method=pool", "uncertainty.passes=8").resolved_uncertainty.runs_adaptively
    assert not recipe("uncertainty.passes=2").resolved_uncertainty.runs_adaptively
    with pytest.raises(ValueError, match="resolved_uncertainty"):  # open until a method decides it
        _ = UncertaintySpec().runs_adaptively
    assert build(tree()).uncertainty.passes == 0  # the default method needs none
    assert build(tree(), ["uncertainty.passes=8"]).uncertainty.passes == 8
    with pytest.raises(RecipeError, match="needs 2 or more"):
        recipe("selection.trust=mutual-information", "uncertainty.passes=1")
    again = yaml.safe_load(recipe().dump())  # a resolved recipe takes another trust score
    changed = build(again, ["selection.trust=energy"])
    assert not changed.resolved_uncertainty.runs_adaptively
    with pytest.raises(RecipeError, match="no-adaptive"):
        recipe("uncertainty.adaptive=true", "selection.trust=mc-energy")
    with pytest.raises(RecipeError, match=r"uncertainty\.scope"):
        recipe("uncertainty.scope=last-0")


def test_the_json_schema_knows_every_key_and_shorthand():
    schema = Recipe.json_schema()
    assert schema["properties"].keys() == Recipe.model_fields.keys()
    assert schema["required"] == ["teachers", "data", "student", "output"]
    strings = {"type": "array", "items": {"type": "string"}}
    for section, shorthands in (
        (TeacherSpec, [{"type": "string"}]),
        (StudentSpec, [{"type": "string"}]),
        (DataSpec, [{"type": "string"}, strings]),
        (UncertaintySpec, None),
    ):
        found = schema["$defs"][section.__name__]
        keys, *others = found["anyOf"] if shorthands else [found]
        assert keys["properties"].keys() == section.model_fields.keys()
        assert (keys["additionalProperties"], others) == (False, shorthands or [])


@pytest.mark.parametrize(
    "content",
    [
        b"a: 2020-13-45", b"!!int x", b"!!bool x", b"!!timestamp x", b"[" * 1200, b"seed: !!int x", b"\xff\xfe\x00",
        b"? [a]\n: b", b"!!python/object/apply:os.system [id]", b"a: \x00", b"1: 2", b"", b"- a", b"'",
    ],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused_in_words(tmp_path, content):
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "r.yaml")
    assert str(tmp_path / "r.yaml") in refused.value.where
    assert refused.value.hint
    with pytest.raises(RecipeError):
        read_recipe(tmp_path)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b"])
@pytest.mark.parametrize("key", ["teachers", "student", "data", "test", "output", "scores", "student.tokenizer"])
def test_a_path_that_is_none_is_refused_wherever_it_stands(path, key):
    if key == "teachers":
        changed = {"teachers": [path, "org/b"]}
    elif key == "student.tokenizer":
        changed = {"student": {"model": "org/s", "tokenizer": path}}
    else:
        changed = {key: path}
    with pytest.raises(RecipeError, match=r"no home folder|NUL"):
        build(tree(**changed))


@pytest.mark.parametrize("value", ["seed=!!int x", "seed=[", "output=!!timestamp x"])
def test_a_value_on_the_command_line_that_cannot_be_read_is_named(value):
    with pytest.raises(RecipeError, match="cannot read the value"):
        build(tree(), [value])
