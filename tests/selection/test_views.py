import numpy as np
import pytest

from muka_fast.selection.neighbours import diffuse
from muka_fast.selection.texts import Texts
from muka_fast.selection.views import TEXT_SHARE, View, Views
from tests.helpers.planted import planted


def less(texts, *, embeddings=True, features=True):
    return Texts(
        texts.logits,
        texts.features if features else [None] * len(texts.features),
        texts.columns,
        texts.embeddings if embeddings else None,
    )


@pytest.mark.parametrize(
    ("embeddings", "features", "shares"),
    [
        (True, True, [TEXT_SHARE, (1 - TEXT_SHARE) / 2, (1 - TEXT_SHARE) / 2]),
        (True, False, [1.0]),
        (False, True, [0.5, 0.5]),
        (False, False, [0.5, 0.5]),  # the teachers' answers
    ],
)
def test_the_views_that_there_are_share_the_graph(embeddings, features, shares):
    views, _ = Views.fit(less(planted((60, 60))[0], embeddings=embeddings, features=features))
    assert [view.share for view in views.views] == pytest.approx(shares)


def test_half_whitening_keeps_the_order_of_the_components_and_narrows_their_range():
    block = np.random.default_rng(0).normal(size=(500, 3)) * [100.0, 1.0, 0.01]
    spreads = [View.fit(block, power, 1.0)[0].apply(block).std(0) for power in (0.0, 0.5, 1.0)]
    assert spreads[0] == pytest.approx([100, 1, 0.01], rel=0.1)
    assert spreads[1] == pytest.approx([10, 1, 0.1], rel=0.1)
    assert spreads[2] == pytest.approx([1, 1, 1], rel=0.1)


def test_columns_that_do_not_vary_leave_an_empty_view():
    view, matrix = View.fit(np.ones((20, 4)), 0.5, 1.0)
    assert view.apply(np.ones((2, 4))).shape == (2, 0)
    assert np.isfinite(matrix.toarray()).all()


@pytest.mark.parametrize("useless", ["embeddings", "features"])
def test_a_view_that_says_nothing_leaves_the_other(useless):
    texts, owner = planted((150, 150))
    random = np.random.default_rng(5)
    noise = Texts(
        texts.logits,
        [random.normal(size=one.shape) for one in texts.features] if useless == "features" else texts.features,
        texts.columns,
        random.normal(size=texts.embeddings.shape) if useless == "embeddings" else texts.embeddings,
    )
    _, matrix = Views.fit(noise)
    sign = np.where(owner == 0, 1.0, -1.0)
    seen = np.where(np.arange(300) % 10 == 0, sign, 0.0)  # one text in ten is known
    spread = diffuse(matrix, seen[:, None])[:, 0]
    assert (np.sign(spread) == sign).mean() > 0.75


def test_texts_outside_the_sample_get_the_values_of_their_neighbours():
    texts, owner = planted((200, 200))
    sample, others = np.arange(400) % 2 == 0, np.arange(400) % 2 == 1
    views, matrix = Views.fit(texts.take(sample))
    sign = np.where(owner == 0, 1.0, -1.0)[:, None]
    spread = diffuse(matrix, sign[sample])
    found = views.attach(views.apply(texts.take(others)), np.zeros((200, 1)), spread)
    assert (np.sign(found) == sign[others]).mean() > 0.9


def test_joined_views_and_names_have_length_one_each():
    texts, _ = planted((40, 40))
    views, _ = Views.fit(texts)
    joined = views.join(views.apply(texts), texts.names)
    assert np.linalg.norm(joined, axis=1) == pytest.approx(np.full(80, np.sqrt(2)), abs=1e-5)
