import numpy as np
import pytest

from muka_fast.runtime.computed_rows import ComputedRows

VALUES = np.arange(12.0).reshape(4, 3)


def test_rows_are_those_of_the_array():
    rows = ComputedRows(VALUES.shape, lambda wanted: VALUES[wanted])
    assert (len(rows), rows.shape) == (4, (4, 3))
    assert np.array_equal(rows[:], VALUES)
    assert np.array_equal(rows[np.array([2, 0])], VALUES[[2, 0]])
    assert np.array_equal(rows[-1], VALUES[3])
    with pytest.raises(IndexError):
        rows[4]


def test_it_is_not_made_an_array_by_accident():
    with pytest.raises(TypeError, match="where they are read"):
        np.asarray(ComputedRows(VALUES.shape, lambda wanted: VALUES[wanted]))
