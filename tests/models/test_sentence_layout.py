"""Folders of sentence-transformers: known modules are read, and nothing that a folder names is imported."""

import json
import shutil

import pytest

from muka_fast.errors import ModelError
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.sentence_layout import Dense, read_layout
from tests.helpers.sentence_encoders import make_encoder, write

LEGACY = {
    "word_embedding_dimension": 32,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_cls_token": True,
    "pooling_mode_max_tokens": False,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder") / "model", layers=("Dense", "Normalize"))


@pytest.fixture
def encoder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "encoder")


def read(folder):
    return read_layout(Checkpoint(folder, None, "teacher"))


def change(path, **changes):
    write(path, (json.loads(path.read_text()) if path.exists() else {}) | changes)


def edit_module(folder, index, **changes):
    modules = json.loads((folder / "modules.json").read_text())
    modules[index] |= changes
    write(folder / "modules.json", modules)


def refused(folder, what):
    with pytest.raises(ModelError, match=what) as caught:
        read(folder)
    assert caught.value.hint


def test_the_layout_of_every_version_is_read(encoder):
    layout = read(encoder)
    dense = Dense(encoder / "2_Dense", "torch.nn.modules.activation.Tanh")
    assert (layout.pooling, layout.layers) == (("mean",), (dense, None))
    assert layout.folders == (encoder / "1_Pooling", encoder / "2_Dense")
    assert (layout.max_length, layout.lowercase) == (None, False)
    for index, name in enumerate(("base.modules.transformer.Transformer", "models.Pooling.Pooling")):
        edit_module(encoder, index, type=f"sentence_transformers.{name}")
    edit_module(encoder, 2, type="sentence_transformers.sentence_transformer.modules.dense.Dense")
    write(encoder / "1_Pooling" / "config.json", LEGACY)
    write(encoder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    write(encoder / "config_sentence_transformers.json", {"prompts": {"query": ""}, "default_prompt_name": None})
    layout = read(encoder)
    assert (layout.pooling, layout.layers) == (("cls", "mean"), (dense, None))
    assert (layout.max_length, layout.lowercase) == (20, True)


@pytest.mark.parametrize(
    "name",
    [
        "encoder_code.Pooling",
        "sentence_transformers.sentence_transformer.modules.word_embeddings.WordEmbeddings",
        "sentence_transformers.models.CLIPModel",
        "sentence_transformers.models.Pooling.Dense.Pooling",
        "xsentence_transformers.models.Pooling",
        7,
        None,
    ],
)
def test_a_class_that_is_not_known_is_refused_and_not_imported(encoder, tmp_path, monkeypatch, name):
    (tmp_path / "encoder_code.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    edit_module(encoder, 1, type=name)
    refused(encoder, rf"modules\.json names the class {name!r}, which is not loaded")


@pytest.mark.parametrize("place", ["../1_Pooling", "..", ".", "", "/tmp", "a/b", None, 3])
def test_a_module_outside_of_the_folder_is_refused(encoder, place):
    edit_module(encoder, 1, path=place)
    refused(encoder, "the path of Pooling is")


@pytest.mark.parametrize("kept", [[], [0], [1, 0], [0, 2], [0, 1, 1], [0, 1, 0]])
def test_modules_in_another_order_are_refused(encoder, kept):
    modules = json.loads((encoder / "modules.json").read_text())
    write(encoder / "modules.json", [modules[index] for index in kept])
    refused(encoder, r"modules\.json lists")


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("sentence_bert_config.json", {"model_args": {"attn_implementation": "someone/kernels"}}),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "someone/tokenizer"}),
        ("sentence_roberta_config.json", {"transformer_task": "fill-mask"}),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method": "generate"}}}),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}),
        ("config_sentence_transformers.json", {"truncate_dim": 16}),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}),
        ("1_Pooling/config.json", {"gate": True}),
        ("2_Dense/config.json", {"use_residual": True}),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}),
        ("3_Normalize/config.json", {"module_output_name": "other"}),
    ],
)
def test_settings_that_change_the_embeddings_are_refused(encoder, file, setting):
    change(encoder / file, **setting)
    (key,) = setting
    refused(encoder, f"{key} is .*; such encoders are not loaded")


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "the pooling is 'median'"),
        ("1_Pooling/config.json", {"pooling_mode": [1]}, r"the pooling is \[1\]"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "the activation function is 'os.system'"),
        ("sentence_bert_config.json", {"max_seq_length": "many"}, "max_seq_length is 'many'"),
        ("sentence_bert_config.json", {"do_lower_case": "no"}, "do_lower_case 'no'"),
        ("modules.json", {}, "modules.json is not a list"),
        ("1_Pooling/config.json", [], "config.json is not an object"),
    ],
)
def test_values_that_are_not_known_are_refused(encoder, file, content, what):
    write(encoder / file, content)
    refused(encoder, what)


def test_damaged_and_pickled_files_are_refused(encoder):
    (encoder / "2_Dense" / "model.safetensors").rename(encoder / "2_Dense" / "pytorch_model.bin")
    refused(encoder, "the module has no model.safetensors")
    (encoder / "modules.json").write_text("[")
    refused(encoder, "modules.json is damaged")
