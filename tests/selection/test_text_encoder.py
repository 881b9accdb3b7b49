import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from muka_fast.config.specs import StudentSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.selection.text_encoder import TextEncoder, name_similarity
from tests.helpers.models import make_model, texts

CPU = torch.device("cpu")


def test_vectors_are_means_of_the_last_hidden_states(tmp_path):
    folder = make_model(tmp_path / "base", ("x", "y"), seed=3)
    some = texts(5)
    found = TextEncoder.load(StudentSpec(model=str(folder)), CPU).encode(build_corpus(some))
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(some, found, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert vector == pytest.approx(states.mean(0).numpy(), abs=1e-5)


def test_no_texts_have_no_vectors(tmp_path):
    folder = make_model(tmp_path / "base", ("x", "y"))
    assert len(TextEncoder.load(StudentSpec(model=str(folder)), CPU).encode(build_corpus([]))) == 0


def test_similarities_are_cosines():
    random = np.random.default_rng(0)
    rows, names = random.normal(size=(3, 4)), random.normal(size=(2, 4))
    expected = [[r @ n / np.linalg.norm(r) / np.linalg.norm(n) for n in names] for r in rows]
    assert name_similarity(rows, names) == pytest.approx(np.array(expected), abs=1e-5)
