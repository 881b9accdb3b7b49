import pytest
from huggingface_hub import ModelCard

from muka_fast.config.recipe import Recipe
from muka_fast.evaluation.model_card import model_card
from tests.helpers.records import record, with_labels


def recipe(**keys):
    teachers = ["org/bank", {"model": "/home/me/two", "name": "two"}]
    tree = {"teachers": teachers, "data": "/home/me/texts.jsonl", "student": "org/base", "output": "/home/me/merged"}
    return Recipe.model_validate(tree | keys)


def card(temperature=1.0, abstain_below=0.0, folded_temperature=1.0, **sections):
    calibration = {
        "temperature": temperature, "abstain_below": abstain_below, "folded_temperature": folded_temperature
    }  # fmt: skip
    return model_card(record(calibration=calibration, **sections), recipe(seed=31))


def header(recipe, **sections):
    """Return the metadata of a card as the hub reads it."""
    return ModelCard(model_card(record(**sections), recipe)).data.to_dict()


def test_the_hub_reads_base_models_data_sets_and_results():
    given = {"license": "mit", "language": "en", "datasets": "org/more", "widget": ["pay my bill", "---\nx: y"]}
    test = {"texts": "hub:org/labelled", "split": "test", "config": "en"}
    found = header(recipe(data="hub:org/pool", test=test, card=given))
    assert (found["library_name"], found["pipeline_tag"]) == ("transformers", "text-classification")
    assert (found["base_model"], found["base_model_relation"]) == (["org/base", "org/bank"], "merge")
    assert found["datasets"] == ["org/pool", "org/more"]
    assert (found["license"], found["language"]) == ("mit", ["en"])
    assert found["widget"] == [{"text": "pay my bill"}, {"text": "---\nx: y"}]
    assert found["model-index"] == [
        {
            "name": "merged",
            "results": [
                {
                    "task": {"type": "text-classification", "name": "Text Classification"},
                    "dataset": {"name": "org/labelled", "type": "org/labelled", "config": "en", "split": "test"},
                    "metrics": [
                        {"type": "accuracy", "value": 0.912, "name": "Accuracy"},
                        {"type": "f1", "value": 0.894, "name": "Macro F1"},
                    ],
                }
            ],
        }
    ]


def test_what_is_not_known_is_left_out_of_the_header():
    local = ["/home/me/one", "/home/me/two"]
    assert header(recipe(teachers=local, student="/home/me/base")) == {
        "library_name": "transformers", "pipeline_tag": "text-classification", "tags": ["muka-fast"]
    }  # fmt: skip
    found = header(recipe(teachers=local, test="/home/me/labelled.csv"))
    assert (found["base_model"], found["base_model_relation"]) == (["org/base"], "finetune")
    assert found["model-index"][0]["results"][0]["dataset"] == {"name": "labelled.csv", "type": "unknown"}


def test_the_card_has_no_path_of_the_machine():
    labels = {"file": "/home/me/names.txt"}
    local = ["/home/me/one", {"model": "/home/me/two", "base": "/home/me/base", "labels": labels}]
    content = model_card(record(), recipe(teachers=local, student="/home/me/base", scores="/home/me/scores"))
    assert "/home" not in content
    assert "  file: names.txt" in content


def test_the_card_has_teachers_metrics_and_recipe():
    content = card()
    assert "| bank | org/bank | 2 | 75.0 % | 3.1 % |" in content
    assert "## Measured on 2345 labelled texts" in content
    assert "| student | 91.2 % | macro-F1: 89.4 % |" in content
    assert "17 texts with labels outside the label space are left out." in content
    assert "| pay | bank |" in content
    assert content.endswith("\nseed: 31\n```\n")
    assert "\n\n\n" not in content
    assert "Measured on" not in card(test=None)


def test_the_card_counts_labelled_texts():
    without = "fine-tuned classifiers and 1234 unlabelled texts; no label was used.\n"
    assert without in card()
    assert without in card(selection=with_labels(0))
    labelled = card(selection=with_labels(100))
    assert "fine-tuned classifiers and 1134 unlabelled texts and 100 labelled ones.\n" in labelled
    assert "no label was used" not in labelled


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
def test_the_card_lists_what_a_pipeline_leaves_out(given, expected):
    assert expected in card(**given)
    assert "a pipeline does not" not in card()


def test_hostile_names_make_no_markup_and_no_lines():
    name = "<script>x</script>\n| a | b |\n[x](javascript:y) \x1b[31m \u202e ```"
    hostile = record(labels=[name, "save", "b"])
    content = model_card(hostile, recipe(labels={"map": {"a": name}}))
    table = content.split("## Classes")[1].split("## Recipe")[0]
    assert len(table.strip().splitlines()) == 2 + 3
    assert not set("<>\x1b\u202e") & set(table)
    assert "[x]" not in table.replace(r"\[x\]", "")
    assert not set("\x1b\u202e") & set(content)
    assert content.endswith("```\n````\n") or content.rstrip().endswith("````")


def test_the_card_names_a_folded_temperature():
    line = "The last layer is divided by the temperature 0.736, so every program's softmax is calibrated."
    assert line in card(folded_temperature=0.7359)
    assert "is divided by" not in card()
    assert "is divided by" not in card(folded_temperature=0.7359, training=None)
