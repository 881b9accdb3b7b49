import numpy as np
import pytest

from muka_fast.data.corpus import build_corpus
from muka_fast.data.synthetic import utterances
from muka_fast.runtime.arrays import load_arrays, save_arrays
from muka_fast.selection.neighbours import nearest, unit_rows
from muka_fast.selection.ngrams import COMPONENTS, NgramSpace


@pytest.fixture(scope="module")
def labelled():
    pairs = utterances(300, 0)
    return build_corpus([text for text, _ in pairs], distinct=False), np.array([label for _, label in pairs])


@pytest.fixture(scope="module")
def space(labelled):
    return NgramSpace.fit(labelled[0], 6000)


def test_neighbours_by_n_grams_share_their_class_more_often_than_chance(labelled, space):
    corpus, labels = labelled
    unit = unit_rows(space.apply(corpus))
    around = nearest(unit, unit, 1, same=True)[0][:, 0]
    assert (labels[around] == labels).mean() > 0.4  # chance: one of 32


def test_a_text_has_the_same_vector_beside_any_other(labelled, space):
    corpus = labelled[0]
    assert space.apply(corpus.take([7])) == pytest.approx(space.apply(corpus)[[7]], abs=1e-6)


def test_it_is_fitted_to_the_texts_of_the_smallest_ids(labelled):
    corpus = labelled[0]
    sample = np.argsort(corpus.ids, kind="stable")[:100]
    ours, theirs = NgramSpace.fit(corpus, 100), NgramSpace.fit(corpus.take(np.sort(sample)), 6000)
    assert np.array_equal(ours.words.terms, theirs.words.terms)
    assert np.array_equal(ours.characters.terms, theirs.characters.terms)


def test_a_space_read_back_gives_the_same_vectors(labelled, space, tmp_path):
    save_arrays(tmp_path / "space.npz", space)
    again = load_arrays(tmp_path / "space.npz", NgramSpace)
    assert np.array_equal(again.apply(labelled[0]), space.apply(labelled[0]))
    assert space.apply(labelled[0]).shape[1] <= 2 * COMPONENTS


def test_the_second_text_of_a_pair_counts():
    texts = ["what is the capital"] * 4
    pairs = ["paris is in france", "paris is in texas", "rome is in italy", "rome is in georgia"]
    corpus = build_corpus(texts, pairs, distinct=False)
    unit = unit_rows(NgramSpace.fit(corpus, 10).apply(corpus))
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.05


@pytest.mark.parametrize("texts", [["one", "two", "three"], ["?", "!", "…"]])
def test_texts_with_nothing_in_common_have_no_space(texts):
    assert NgramSpace.fit(build_corpus(texts, distinct=False), 10) is None


def test_texts_without_spaces_between_words_have_one():
    corpus = build_corpus(
        ["今天天气很好", "今天天气不好", "明天天气很好", "请播放音乐", "请播放爵士音乐", "请停止播放音乐"]
    )
    unit = unit_rows(NgramSpace.fit(corpus, 10).apply(corpus))
    assert unit[3] @ unit[4] > unit[3] @ unit[0]
