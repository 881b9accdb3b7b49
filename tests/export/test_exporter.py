"""Export, the parity gate and the exported classifier, for every family; each can only pass on equal logits."""

import json

import numpy as np
import onnx
import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from muka_fast.data.corpus import build_corpus
from muka_fast.errors import CheckFailed, CorpusError, ModelError, OutputError
from muka_fast.export import OnnxClassifier, export, exporter
from muka_fast.export.graph import Graph, trace
from muka_fast.export.parity import Tolerances
from muka_fast.export.quantization import SCHEMES, to_int8
from muka_fast.inference.classifier import Classifier
from tests.helpers.exports import FAMILIES, make_family
from tests.helpers.models import make_tokenizer, texts

SAMPLE = [*texts(30), "", "weather " * 60]


def assert_equal_outputs(folder, model):
    """What the exported classifier says is what the model says, padding, cuts and empty texts included."""
    exported, original = OnnxClassifier(folder, device="cpu"), Classifier.load(str(model), torch.device("cpu"))
    assert exported.labels == original.labels
    assert exported.max_length == original.max_length
    expected = original.logits(SAMPLE)
    assert expected.std(0).min() > 0.01, "the texts hardly differ: nothing is compared"
    np.testing.assert_allclose(exported.logits(SAMPLE), expected, atol=1e-4)
    np.testing.assert_allclose(exported.predict_proba(SAMPLE).sum(1), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.transformers4
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_the_same_as_onnx(family, tmp_path):
    model = make_family(tmp_path / family, family)
    done = export(str(model), tmp_path / "out", texts=build_corpus(SAMPLE))
    assert done.graphs["fp32"].parity.largest <= 1e-4
    assert done.graphs["fp32"].parity.agreement == 1.0
    unfused = family == "modernbert" and transformers.__version__.startswith("4.")
    assert bool(done.fused) != unfused
    assert_equal_outputs(tmp_path / "out", model)


DECODERS = {
    "gpt2": {"n_embd": 32, "n_head": 2, "n_inner": 64, "n_positions": 64},
    "llama": {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64},
    "opt": {"hidden_size": 32, "num_attention_heads": 2, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "gpt_neox": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", DECODERS)
def test_decoders_say_the_same_as_onnx(family, tmp_path):
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "num_hidden_layers": 1}
    settings = {"vocab_size": 128, "max_position_embeddings": 64, "initializer_range": 0.2}
    config = AutoConfig.for_model(family, num_labels=3, **(settings | special | DECODERS[family]))
    config.id2label = dict(enumerate(("music", "weather", "travel")))
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / family)
    make_tokenizer(tmp_path / family)
    export(str(tmp_path / family), tmp_path / "out", texts=build_corpus(SAMPLE))
    assert_equal_outputs(tmp_path / "out", tmp_path / family)


def tokenizer_settings(folder, **settings):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.slow
@pytest.mark.transformers4
def test_pairs_are_read_as_pairs(bert, tmp_path):
    tokenizer_settings(bert, model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    done = export(str(bert), tmp_path / "out")
    assert set(done.record.inputs) == {"input_ids", "token_type_ids", "attention_mask"}
    exported, original = OnnxClassifier(tmp_path / "out"), Classifier.load(str(bert), torch.device("cpu"))
    first, second = texts(8), texts(8, 50)
    np.testing.assert_allclose(exported.logits(first, second), original.logits(first, second), atol=1e-4)
    assert np.abs(exported.logits(first, second) - exported.logits(first)).max() > 1e-3


def test_all_precisions_at_once(bert, tmp_path):
    tolerances = Tolerances(agreement=0.8)  # random weights leave classes close together
    done = export(
        str(bert),
        tmp_path / "out",
        precisions=("int8", "fp16", "fp32"),
        texts=build_corpus(SAMPLE),
        tolerances=tolerances,
    )
    assert [graph.file for graph in done.graphs.values()] == ["model_int8.onnx", "model_fp16.onnx", "model.onnx"]
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record == json.loads(json.dumps(done.record.tree()))
    assert record["labels"] == ["music", "weather", "travel"]
    assert done.graphs["int8"].bytes < done.graphs["fp32"].bytes
    exact = OnnxClassifier(tmp_path / "out", precision="fp32").logits(SAMPLE)
    assert OnnxClassifier(tmp_path / "out").precision == "int8"
    for precision, loss in (("fp16", 0.05), ("int8", 0.5)):
        found = OnnxClassifier(tmp_path / "out", precision=precision).logits(SAMPLE)
        assert 0 < np.abs(found - exact).max() < loss
    kinds = {node.op_type for node in onnx.load(tmp_path / "out" / "model_int8.onnx").graph.node}
    assert "MatMulInteger" in kinds
    assert "Attention" not in kinds, "a fused attention is quantised without its mask"


def test_int8_alone_is_model_onnx_and_leaves_nothing_else(bert, tmp_path):
    export(str(bert), tmp_path / "out", precisions=("int8",), tolerances=Tolerances(agreement=0.5))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.onnx*")) == ["model.onnx"]
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.slow
def test_labelled_texts_judge_by_accuracy(bert, tmp_path):
    """int8 that changes classes passes if it is right as often, and is refused if not."""
    sample = texts(40)
    said = [name for name, *_ in Classifier.load(str(bert), torch.device("cpu")).classify(sample)]
    labelled = build_corpus(sample, labels=said, distinct=False)
    done = export(
        str(bert),
        tmp_path / "good",
        precisions=("fp32", "int8"),
        labelled=labelled,
        tolerances=Tolerances(agreement=1.0, loss=0.3),
    )
    assert done.graphs["int8"].parity.model_accuracy == 1.0
    with pytest.raises(CheckFailed, match=r"accuracy falls from 100\.00%") as caught:
        export(str(bert), tmp_path / "bad", precisions=("int8",), labelled=labelled, tolerances=Tolerances(loss=-0.01))
    assert str(caught.value).count("is allowed") + str(caught.value).count("are allowed") == 4  # every way was tried
    assert not (tmp_path / "bad").exists()


def one_weight_changed(model):
    weight = max(model.graph.initializer, key=lambda each: np.prod(each.dims))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[2, 0] += 1.0  # of the embedding of the token that every text starts with
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def one_dimension_frozen(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breakage", "message"),
    [(one_weight_changed, "logits differ by"), (one_dimension_frozen, "does not run 1 × 1 tokens")],
)
def test_a_broken_graph_is_refused_and_nothing_is_left(breakage, message, bert, tmp_path, monkeypatch):
    save = Graph.save

    def violation(self, path):
        save(self, path)
        model = onnx.load(path)
        breakage(model)
        onnx.save(model, path)

    monkeypatch.setattr(Graph, "save", violation)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckFailed, match=message) as caught:
        export(str(bert), tmp_path / "out")
    assert caught.value.exit_code == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.transformers4
@pytest.mark.parametrize(
    ("settings", "expected", "words"),
    [
        ({"padding_side": "left"}, {"padding_side": "right"}, 40),
        ({"truncation_side": "left"}, {"truncation_side": "left"}, 80),
    ],
    ids=["padding", "cuts"],
)
def test_padding_is_where_the_model_does_not_read_it_and_cuts_are_the_tokenizers(
    settings, expected, words, bert, tmp_path
):
    """Padded on the left, BERT's positions would go by the batch."""
    tokenizer_settings(bert, **settings)
    done = export(str(bert), tmp_path / "out")
    assert expected.items() <= done.record.tree().items()
    exported = OnnxClassifier(tmp_path / "out", threads=1)  # which then puts 40 words and a short text into one batch
    original = Classifier.load(str(bert), torch.device("cpu"))
    for short in texts(6):
        batch = [short, "weather play " * (words // 2)]
        alone = np.concatenate([original.logits([text]) for text in batch])
        np.testing.assert_allclose(exported.logits(batch), alone, atol=1e-4)
        np.testing.assert_allclose(original.logits(batch), alone, atol=1e-4)


def test_a_tokenizer_that_serves_otherwise_is_refused(bert, tmp_path, monkeypatch):
    encode = OnnxClassifier.encode

    def shifted(self, texts, pairs=None):
        return [{name: [values[0], *values] for name, values in row.items()} for row in encode(self, texts, pairs)]

    monkeypatch.setattr(OnnxClassifier, "encode", shifted)
    with pytest.raises(CheckFailed, match="other tokens without transformers"):
        export(str(bert), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_int8_tries_on_after_a_graph_that_does_not_run_or_cannot_be_made(bert, tmp_path, monkeypatch):
    def damaged(source, target, scheme):
        if scheme is SCHEMES[1]:  # the quantiser itself fails on a graph it cannot read
            source = target.with_name("nonsense")
            source.write_bytes(b"nonsense")
        to_int8(source, target, scheme)
        if scheme is SCHEMES[0]:
            target.write_bytes(b"nonsense")

    monkeypatch.setattr(exporter, "to_int8", damaged)
    done = export(str(bert), tmp_path / "out", precisions=("int8",), tolerances=Tolerances(agreement=0.5))
    assert done.graphs["int8"].scheme == SCHEMES[2].name


def test_the_present_folder_is_a_folder(bert, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(str(bert), ".")
    assert_equal_outputs(tmp_path / "here", bert)
    export(str(bert), tmp_path / "here", overwrite=True)
    assert_equal_outputs(tmp_path / "here", bert)


def test_overwriting_an_export_deletes_only_what_an_export_writes(bert, tmp_path):
    out = tmp_path / "out"
    export(str(bert), out, precisions=("fp32", "fp16"))
    (out / "serve.py").write_text("mine")
    (out / "notes").mkdir()
    (out / "notes" / "a.md").write_text("mine too")
    export(str(bert), out, overwrite=True)
    assert (out / "serve.py").read_text() == "mine"
    assert (out / "notes" / "a.md").read_text() == "mine too"
    assert not (out / "model_fp16.onnx").exists()
    assert_equal_outputs(out, bert)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "out"]


@pytest.mark.parametrize(
    ("problem", "message"), [("regression", "regression"), ("multi_label_classification", "multi-label")]
)
def test_heads_that_are_no_single_distribution_are_refused(problem, message, bert, tmp_path):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"problem_type": problem}))
    with pytest.raises(ModelError, match=message):
        export(str(bert), tmp_path / "out")


def test_large_weights_go_to_a_file_of_their_own(bert, tmp_path, monkeypatch):
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    monkeypatch.chdir(tmp_path)
    for name in ("model.onnx.data", "model_fp16.onnx.data", "model_int8.onnx.data"):
        (tmp_path / name).write_text("another's")  # in the present folder, where nothing is to be written
    done = export(
        str(bert), tmp_path / "out", precisions=("fp32", "fp16", "int8"), tolerances=Tolerances(agreement=0.5)
    )
    for precision, graph in done.graphs.items():
        assert 0 < (tmp_path / "out" / f"{graph.file}.data").stat().st_size < graph.bytes
        assert len(OnnxClassifier(tmp_path / "out", precision=precision).logits(["hi"])) == 1
    assert_equal_outputs(tmp_path / "out", bert)
    assert (tmp_path / "model_int8.onnx.data").read_text() == "another's"


@pytest.mark.slow
def test_fusions_are_counted_or_left_out(bert, tmp_path):
    assert export(str(bert), tmp_path / "plain", fuse="none", opset=18).fused == {}
    kinds = {node.op_type for node in onnx.load(tmp_path / "plain" / "model.onnx").graph.node}
    assert "Attention" not in kinds
    assert json.loads((tmp_path / "plain" / "export.json").read_text())["opset"] == 18
    with pytest.raises(ModelError, match=r"opset 99 is not available|cannot be exported"):
        export(str(bert), tmp_path / "none", opset=99)
    fused = export(str(bert), tmp_path / "fused").fused
    assert (fused["attention"], fused["skip_layer_normalization"]) == (2, 4)


def test_an_earlier_export_stays_unless_told(bert, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export(str(bert), out)
    with pytest.raises(OutputError, match="holds an export"):
        export(str(bert), out)
    monkeypatch.setattr(exporter, "trace", lambda *_, **__: (_ for _ in ()).throw(ModelError("cannot be exported")))
    with pytest.raises(ModelError):
        export(str(bert), out, overwrite=True)
    assert_equal_outputs(out, bert)  # a failed one takes nothing away
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(OutputError, match="is not an export"):
        export(str(bert), tmp_path / "other", overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        export(str(bert), tmp_path / "other" / "notes.txt")


def test_what_cannot_be_traced_is_named(bert, monkeypatch):
    model = AutoModelForSequenceClassification.from_pretrained(bert).eval()
    monkeypatch.setattr(type(model), "forward", lambda self, input_ids: (_ for _ in ()).throw(RuntimeError("no way")))
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        trace(model, ("input_ids",), "model bert")


@pytest.mark.transformers4
def test_the_folder_is_a_checkpoints_in_all_but_weights(bert, tmp_path):
    export(str(bert), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (
        tokenizer("play some jazz")["input_ids"] == AutoTokenizer.from_pretrained(bert)("play some jazz")["input_ids"]
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "music", "1": "weather", "2": "travel"}


def test_an_empty_corpus_to_compare_on_is_refused(bert, tmp_path):
    with pytest.raises(CorpusError, match="no texts to compare graph and model on"):
        export(str(bert), tmp_path / "out", texts=build_corpus([]))
    assert not (tmp_path / "out").exists()
