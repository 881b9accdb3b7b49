import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.data.batching import token_batches


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
