from dataclasses import replace

import numpy as np
import pytest
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.selection.base import Pool
from muka_fast.selection.mixture_rule import mixture_rule
from muka_fast.selection.muka_rule import muka_rule
from muka_fast.uncertainty.signals import DeterministicOutput


def planted(count=300, seed=0):
    """A pool whose owners show in embeddings and energies; return it with the owners."""
    random = np.random.default_rng(seed)
    owner = random.integers(0, 2, count)
    embeddings = random.normal(size=(count, 6)) + 2 * np.eye(2, 6)[owner]
    signals = []
    for own in range(2):
        logits = random.normal(size=(count, 2)) + np.where(owner == own, 4.0, 1.0)[:, None] * [1, 0]
        look = DeterministicOutput(torch.from_numpy(logits.astype(np.float32)), np.zeros((count, 0), dtype=np.float32))
        signals.append(look.signals())
    space = LabelSpace.union({"a": ["x", "y"], "b": ["z", "w"]})
    return Pool(tuple(signals), space, random.integers(0, 2**63, count).astype(np.uint64), embeddings), owner


def test_the_pool_method_mixes_by_ownership():
    pool, owner = planted()
    trust = mixture_rule(pool)
    assert (trust.chosen == owner).mean() > 0.95
    assert trust.weights == pytest.approx(trust.ownership.posterior)
    assert trust.sample_weight.tolist() == [1.0] * 300
    hard = mixture_rule(pool, hard=True)
    assert hard.chosen.tolist() == trust.chosen.tolist()
    assert sorted(set(hard.weights.ravel())) == [0, 1]


def test_views_that_agree_but_slightly_give_way_to_the_papers_rule():
    pool, _ = planted()
    noise = replace(pool, embeddings=np.random.default_rng(1).normal(size=(300, 200)))
    trust, paper = mixture_rule(noise), muka_rule(noise)
    assert trust.ownership.views_disagree
    assert trust.weights == pytest.approx(paper.weights)
    assert trust.sample_weight == pytest.approx(paper.sample_weight)
    without = mixture_rule(replace(pool, embeddings=None))  # one view alone cannot disagree
    assert not without.ownership.views_disagree
    assert without.weights == pytest.approx(without.ownership.posterior)


def test_texts_of_a_class_that_two_teachers_know_go_to_either():
    """Of three classes the middle one is known to both teachers; who is chosen must know the text's class."""
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 600)
    embeddings, signals = random.normal(size=(600, 6)) + 3 * np.eye(3, 6)[label], []
    for classes in ((0, 1), (1, 2)):
        known = np.isin(label, classes)
        own = np.where(known, label - classes[0], random.integers(0, 2, 600))
        features = random.normal(size=(600, 4)) + np.where(known[:, None], 5 * np.eye(2, 4)[own], 0)
        logits = random.normal(size=(600, 2)) + np.where(known, 4.0, 2.0)[:, None] * np.eye(2)[own]
        signals.append(
            DeterministicOutput(torch.from_numpy(logits.astype(np.float32)), features.astype(np.float32)).signals()
        )
    space = LabelSpace.union({"a": ["x", "y"], "b": ["y", "z"]})
    trust = mixture_rule(Pool(tuple(signals), space, random.integers(0, 2**63, 600).astype(np.uint64), embeddings))
    assert not trust.ownership.views_disagree
    assert space.membership[trust.chosen, label].mean() > 0.95
