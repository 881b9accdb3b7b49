import numpy as np
import pytest

from muka_fast.errors import RecipeError
from muka_fast.inference.columns import ColumnOptions, prediction_columns, teacher_columns
from muka_fast.inference.predictions import Calibration, Distributions

FOUND = Distributions(np.array([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25]], dtype=np.float32), np.array([1.5, -2.0]))


def test_columns_hold_what_is_asked_for():
    columns = prediction_columns(
        FOUND,
        ("a", "b", "c"),
        Calibration(abstain_below=0.45),
        ColumnOptions(2, probabilities=True, uncertainty=True, prefix="p_"),
    )
    found = {name: column.tolist() for name, column in columns.items()}
    entropies = found.pop("p_entropy")
    assert entropies == pytest.approx(
        [-sum(p * np.log(p) for p in row) for row in FOUND.probabilities.tolist()], abs=1e-5
    )
    assert found == {
        "p_label": ["b", None],
        "p_score": [0.5, 0.4],
        "p_abstained": [False, True],
        "p_label_2": ["c", "b"],
        "p_score_2": [0.3, 0.35],
        "p_energy": [1.5, -2.0],
        "p_probability_a": [0.2, 0.4],
        "p_probability_b": [0.5, 0.35],
        "p_probability_c": [0.3, 0.25],
    }


def test_columns_without_rows_have_the_same_names_and_types():
    options = ColumnOptions(3, probabilities=True, uncertainty=True)
    none = Distributions(np.empty((0, 3), dtype=np.float32), np.empty(0))
    some, empty = (prediction_columns(one, ("a", "b", "c"), Calibration(), options) for one in (FOUND, none))
    assert {name: column.dtype for name, column in some.items()} == {n: column.dtype for n, column in empty.items()}
    without = prediction_columns(
        FOUND._replace(energies=None), ("a", "b", "c"), Calibration(), ColumnOptions(uncertainty=True)
    )
    assert list(without) == ["label", "score", "abstained", "entropy"]


@pytest.mark.parametrize("top", [0, 4])
def test_a_number_of_classes_that_there_are_not_is_refused(top):
    with pytest.raises(RecipeError, match="not a number of classes"):
        prediction_columns(FOUND, ("a", "b", "c"), Calibration(), ColumnOptions(top))


def test_the_chosen_teacher_comes_with_its_own_answer():
    posterior, predicted = np.array([[0.9, 0.1], [0.25, 0.75]]), np.array([[0, 2], [1, 2]])
    columns = teacher_columns(posterior, predicted, ["x", "y"], ("a", "b", "c"), ColumnOptions(probabilities=True))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "teacher": ["x", "y"],
        "teacher_posterior": [0.9, 0.75],
        "teacher_label": ["a", "c"],
        "posterior_x": [0.9, 0.25],
        "posterior_y": [0.1, 0.75],
    }
