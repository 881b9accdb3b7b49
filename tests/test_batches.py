import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.batches import token_batches


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 2**64 - 1)), min_size=1, max_size=80, unique_by=lambda x: x[1]
    ),
    st.integers(16, 200),
    st.randoms(use_true_random=False),
)
def test_batches_keep_the_budget_lose_nothing_and_ignore_order(items, budget, random):
    def cut(rows):
        lengths, ids = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=np.uint64)
        batches = token_batches(lengths, ids, budget)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        return [ids[batch].tolist() for batch in batches]

    shuffled = list(items)
    random.shuffle(shuffled)
    assert cut(items) == cut(shuffled)
