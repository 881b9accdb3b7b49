import numpy as np

from muka_fast.selection.abstention import abstentions, without_abstentions
from muka_fast.selection.base import Selection
from tests.helpers.pools import logits_pool

POOL = logits_pool([[1.0, 1.0], [0.0, 2.0], [3.0, 3.0]], [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 4.0]])


def test_only_tables_of_predictions_abstain():
    assert abstentions(POOL.signals, [True, True]).tolist() == [[True, True], [False, False], [True, False]]
    assert abstentions(POOL.signals, [False, True]).tolist() == [[False, True], [False, False], [False, False]]


def test_the_others_take_the_weight_and_a_text_without_any_counts_nothing():
    weights = np.array([[0.5, 0.5, 0.0], [0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    selection = Selection(weights.copy(), weights, np.full(3, 2.0))
    abstains = np.array([[True, True, True], [True, False, False], [True, False, False]])
    found = without_abstentions(selection, abstains)
    np.testing.assert_allclose(found.soft_weights, [[0.5, 0.5, 0.0], [0.0, 0.75, 0.25], [0.0, 0.5, 0.5]])
    assert found.sample_weight.tolist() == [0.0, 2.0, 2.0]
    assert found.trust_scores[1].tolist() == [0.1, 0.3, 0.1]
    assert without_abstentions(selection, np.zeros_like(abstains)) is selection
