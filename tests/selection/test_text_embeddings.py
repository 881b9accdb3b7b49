import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

from muka_fast.config.recipe import StudentSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.selection.text_embeddings import COLUMNS, embed, hashed_ngrams, token_means


def test_hashed_ngrams_tell_order_and_share():
    texts = ["turn on the light", "Turn on the light!", "light the on turn", "play jazz"]
    vectors = hashed_ngrams(build_corpus(texts, distinct=False))
    assert vectors.shape == (4, COLUMNS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.999
    assert 0.3 < similarity[0, 2] < 0.9
    assert similarity[0, 3] < 0.3
    chinese = hashed_ngrams(
        build_corpus(["打开卧室的灯", "关上卧室的灯", "播放音乐", "ラジオを聴く", "เปิดไฟ"], distinct=False)
    )
    assert chinese[0] @ chinese[1] > 0.4  # they share four of six characters
    assert abs(chinese[0] @ chinese[2]) < 0.2
    assert np.allclose(np.linalg.norm(chinese, axis=1), 1)
    paired = hashed_ngrams(build_corpus(["turn on"], ["the light"], distinct=False))
    assert np.allclose(paired[0], vectors[0])


def test_token_means_by_hand(model_folder):
    folder = model_folder("base")
    spec = StudentSpec(model=str(folder), max_length=8)
    corpus = build_corpus(
        ["music", "what is the weather in paris tomorrow and in rome the day after", "play some jazz"]
    )
    found = token_means(spec, corpus)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    weight = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"].numpy()
    for text, vector in zip(corpus.texts, found, strict=True):
        ids = tokenizer(text, truncation=True, max_length=8)["input_ids"]
        assert vector == pytest.approx(weight[ids].mean(0), abs=1e-6)
    assert embed(spec, corpus) == pytest.approx(found)
    scratch = StudentSpec(config="c", tokenizer="t")
    assert embed(scratch, corpus).shape == (3, COLUMNS)
