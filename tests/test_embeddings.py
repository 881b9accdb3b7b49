import numpy as np
import torch

from muka_fast.corpus import build_corpus
from muka_fast.embeddings import COLUMNS, embed, encoder_means, hashed_ngrams
from muka_fast.recipe import StudentSpec

CPU = torch.device("cpu")


def test_hashed_ngrams_tell_order_and_share():
    texts = ["turn on the light", "Turn on the light!", "light the on turn", "play jazz"]
    vectors = hashed_ngrams(build_corpus(texts, distinct=False))
    assert vectors.shape == (4, COLUMNS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.999
    assert 0.3 < similarity[0, 2] < 0.9
    assert similarity[0, 3] < 0.3
    paired = hashed_ngrams(build_corpus(["turn on"], ["the light"], distinct=False))
    assert np.allclose(paired[0], vectors[0])


def test_encoder_means_ignore_padding_and_order(model_folder):
    spec = StudentSpec(model=str(model_folder("base")))
    corpus = build_corpus(["music", "what is the weather in paris tomorrow", "play some jazz", "stop"])
    whole = encoder_means(spec, corpus, CPU)
    alone = np.concatenate([encoder_means(spec, corpus.take([i]), CPU) for i in range(4)])
    assert np.allclose(whole, alone, atol=1e-5)
    assert whole.shape == (4, 16)
    assert embed(spec, corpus, CPU).shape == (4, 16)
    scratch = StudentSpec(config="c", tokenizer="t")
    assert embed(scratch, corpus, CPU).shape == (4, COLUMNS)
