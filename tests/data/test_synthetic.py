from hashlib import sha256

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from muka_fast.data.synthetic import DOMAINS, INTENTS, utterances


def test_utterances_are_balanced_distinct_and_repeatable():
    rows = utterances(320, 5)
    assert rows == utterances(320, 5)
    assert len({text for text, _ in rows}) == 320
    labels = [label for _, label in rows]
    assert {label: labels.count(label) for label in set(labels)} == {n: 10 for d in DOMAINS for n in INTENTS[d]}
    assert {label for _, label in utterances(80, 1, DOMAINS[:2])} == {*INTENTS[DOMAINS[0]], *INTENTS[DOMAINS[1]]}
    assert len({text for text, _ in rows} & {text for text, _ in utterances(320, 6)}) < 5
    with pytest.raises(ValueError, match="domains must be some of"):
        utterances(1, 0, ["astrology"])


def test_utterances_are_not_separable_by_single_words():
    train, test = utterances(4000, 1), utterances(1000, 2)
    words = CountVectorizer()
    model = LogisticRegression(max_iter=300).fit(
        words.fit_transform([text for text, _ in train]), [label for _, label in train]
    )
    accuracy = model.score(words.transform([text for text, _ in test]), [label for _, label in test])
    assert 0.85 < accuracy < 0.97


def test_utterances_of_a_seed_are_fixed():
    """The demo's figures and the tests of throughput depend on these texts."""
    assert sha256(repr(utterances(2000, 3)).encode()).hexdigest() == (
        "eab9750fa429843ccab48a3c4b48f1d9b67c64fbd20a6e1f962c0504747021b0"
    )
