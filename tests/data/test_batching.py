import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.data.batching import Padding, token_batches


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 2**64 - 1)), min_size=1, max_size=80, unique_by=lambda x: x[1]
    ),
    st.integers(16, 200),
    st.none() | st.integers(1, 60),
    st.randoms(use_true_random=False),
)
def test_batches_keep_the_budget_lose_nothing_and_ignore_order(items, budget, enough, random):
    def cut(rows):
        lengths, ids = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=np.uint64)
        batches = token_batches(lengths, ids, budget, enough)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        return [ids[batch].tolist() for batch in batches]

    shuffled = list(items)
    random.shuffle(shuffled)
    assert cut(items) == cut(shuffled)


def test_a_batch_that_has_enough_ends_where_texts_get_shorter():
    lengths = np.array([20, 19, 16, 15, 8, 8, 2])
    ids = np.arange(7, dtype=np.uint64)
    assert [batch.tolist() for batch in token_batches(lengths, ids, 1000)] == [[0, 1, 2, 3, 4, 5, 6]]
    cut = token_batches(lengths, ids, 1000, enough=20)
    assert [lengths[batch].tolist() for batch in cut] == [[20, 19, 16], [15, 8], [8, 2]]
    assert [len(batch) for batch in token_batches(lengths, ids, 1000, enough=100)] == [5, 2]


ROWS = [{"input_ids": [5, 3]}, {"input_ids": [6, 7, 8, 3]}, {"input_ids": [9, 3, 4, 3]}]


@pytest.mark.parametrize(
    ("side", "ids", "mask"),
    [
        ("right", [[5, 3, 1, 1], [6, 7, 8, 3]], [[1, 1, 0, 0], [1, 1, 1, 1]]),
        ("left", [[1, 1, 5, 3], [6, 7, 8, 3]], [[0, 0, 1, 1], [1, 1, 1, 1]]),
    ],
)
def test_padding_fills_the_side_and_the_mask(side, ids, mask):
    padding = Padding({"input_ids": 1, "attention_mask": 0, "token_type_ids": 0}, side)
    batch = padding.pad(ROWS[:2])
    assert {name: array.tolist() for name, array in batch.items()} == {"input_ids": ids, "attention_mask": mask}
    assert all(array.dtype == np.int64 for array in batch.values())
    assert padding.mask([2, 4]).astype(int).tolist() == mask
    typed = padding.pad([{"input_ids": [5], "token_type_ids": [1]}, {"input_ids": [5, 3], "token_type_ids": [1, 1]}])
    assert typed["token_type_ids"].tolist() == ([[1, 0], [1, 1]] if side == "right" else [[0, 1], [1, 1]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[0, 1, 2]]),
        ({"mixed_lengths": False}, [[0], [1, 2]]),
        ({"counted_token": 3}, [[0, 1], [2]]),
        ({"mixed_lengths": False, "counted_token": 3}, [[0], [1], [2]]),
    ],
)
def test_batches_are_split_where_texts_may_not_share_one(settings, expected):
    padding = Padding({"input_ids": 0}, **settings)
    assert [part.tolist() for part in padding.split([np.arange(3)], ROWS)] == expected
    mixed = [part.tolist() for part in padding.split([np.arange(3)], ROWS, mixed_lengths=True)]
    assert mixed == ([[0, 1], [2]] if "counted_token" in settings else [[0, 1, 2]])
