import json

import pytest
from transformers import BertConfig

from muka_fast.errors import LabelError, ModelError
from muka_fast.models.checkpoint import find_checkpoint
from muka_fast.models.head import class_names, read_head
from muka_fast.models.loading import read_config

NAMES = {"0": "door", "1": "kitchen", "2": "garden"}
INVERSE = {"door": 0, "kitchen": 1, "garden": 2}


def read(folder, **given):
    """Read a configuration that gives these keys."""
    tree = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], **given}
    (folder / "config.json").write_text(json.dumps(tree))
    return read_config(find_checkpoint(str(folder)))


@pytest.mark.parametrize(
    "given",
    [
        {"id2label": NAMES, "label2id": INVERSE},
        {"id2label": NAMES},
        {"label2id": INVERSE},
        {"label2id": {"garden": 2, "door": 0, "kitchen": 1}},
        {"label2id": {name: str(index) for name, index in INVERSE.items()}},
        {"id2label": None, "label2id": INVERSE},
        {"id2label": {}, "label2id": INVERSE},
        {"id2label": NAMES, "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}},
        {"id2label": NAMES, "label2id": {"Door": 0, "KITCHEN": 1}},
        {"id2label": NAMES, "label2id": {"entry": 1}},
        {"id2label": NAMES, "label2id": None},
        {"id2label": dict(reversed(NAMES.items()))},
    ],
)
def test_names_come_from_either_map(tmp_path, given):
    config = read(tmp_path, **given)
    assert config.num_labels == 3
    assert read_head(config, "here") == ("door", "kitchen", "garden")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"id2label": {"1": "door", "2": "kitchen"}}, "names the outputs 1, 2"),
        ({"id2label": {"0": "door", "2": "kitchen"}}, "names the outputs 0, 2"),
        ({"id2label": {"-1": "door", "0": "kitchen"}}, "'-1', not the number of an output"),
        ({"id2label": {"door": 0, "kitchen": 1}}, "'door', not the number of an output"),
        ({"id2label": ["door", "kitchen"]}, "not the number of an output"),
        ({"label2id": {"door": 1, "kitchen": 2}}, "label2id gives the outputs 1, 2"),
        ({"label2id": {"door": 0, "kitchen": 0}}, "label2id gives the outputs 0, 0"),
        ({"label2id": {"door": "first", "kitchen": 1}}, "label2id gives the outputs first, 1"),
        ({"id2label": NAMES, "label2id": {"door": 0, "kitchen": 2, "garden": 1}}, "'kitchen' is output 1 and output 2"),
        ({"id2label": NAMES, "label2id": {"Kitchen": "0"}}, "'Kitchen' is output 1 and output 0"),
        ({"id2label": {"0": "door", "1": "door"}}, "same name: 'door' and 'door'"),
        ({"id2label": {"0": "door", "1": "Door "}}, "same name"),
        ({"id2label": {"0": "door", "1": ""}}, "label 1 has an empty name"),
        ({"id2label": {"0": "door", "1": None}}, "label 1 has an empty name"),
    ],
)
def test_names_that_do_not_fit_the_outputs_are_refused(tmp_path, given, what):
    with pytest.raises((ModelError, LabelError), match=what) as refused:
        class_names(read(tmp_path, **given), "here")
    assert "label" in refused.value.hint or "wrong" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"num_labels": 1}, "1 output"),
        ({"id2label": {"0": "score"}}, "1 output"),
        ({"num_labels": 3, "problem_type": "regression"}, "for regression"),
        ({"num_labels": 1, "problem_type": "regression"}, "1 output"),
        ({"id2label": NAMES, "problem_type": "multi_label_classification"}, "multi-label"),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, "1 output"),
    ],
)
def test_heads_without_one_distribution_are_refused(given, what):
    with pytest.raises(ModelError, match=what):
        read_head(BertConfig(**given), "here")


def test_two_outputs_without_names_keep_their_placeholders():
    assert read_head(BertConfig(), "here") == ("LABEL_0", "LABEL_1")
