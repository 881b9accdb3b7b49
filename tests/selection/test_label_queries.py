import numpy as np
import pytest

from muka_fast.selection.label_queries import choose_texts


def clusters(count: int = 50, groups: int = 6):
    """Texts in groups of which the first half is uncertain."""
    random = np.random.default_rng(0)
    of = np.repeat(np.arange(groups), count)
    places = 5 * np.eye(groups)[of] + 0.1 * random.normal(size=(len(of), groups))
    first = np.where(of < groups // 2, 0.5, 0.999)
    return np.stack([first, 1 - first], axis=1), places, of


def test_uncertain_texts_of_every_uncertain_cluster_are_chosen():
    posterior, places, of = clusters()
    found = choose_texts(posterior, places, 12, np.ones(len(of), dtype=bool), 0)
    assert len(found.rows) == 12
    assert np.all(np.diff(found.rows) > 0)
    chosen = np.bincount(of[found.rows], minlength=6)
    assert (chosen[:3] > 0).all()
    assert chosen[:3].sum() >= 10


def test_weights_are_the_shares_of_the_pool_that_texts_stand_for():
    posterior, places, of = clusters()
    found = choose_texts(posterior, places, 12, np.ones(len(of), dtype=bool), 0)
    assert found.weight.sum() == pytest.approx(12)
    assert (found.weight > 0).all()


def test_closed_texts_are_not_chosen_and_few_open_ones_are_all_taken():
    posterior, places, of = clusters()
    open_ = of == 1
    assert np.isin(choose_texts(posterior, places, 10, open_, 0).rows, np.flatnonzero(open_)).all()
    assert choose_texts(posterior, places, 60, open_, 0).rows.tolist() == np.flatnonzero(open_).tolist()
    assert len(choose_texts(posterior, places, 5, np.zeros(len(of), dtype=bool), 0).rows) == 0


def test_the_same_seed_chooses_alike_and_equal_places_fill_up():
    posterior, places, of = clusters()
    everything = np.ones(len(of), dtype=bool)
    first, second = (choose_texts(posterior, places, 8, everything, 3).rows for _ in range(2))
    assert first.tolist() == second.tolist()
    assert len(choose_texts(posterior, np.ones_like(places), 8, everything, 0).rows) == 8
