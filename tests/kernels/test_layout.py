from __future__ import annotations

import numpy as np
import pytest

from muka_fast.kernels.layout import PackedLayout, Span, spans
from tests.helpers.kernel_cases import DEVICE, KEY, LENGTHS, TEXT_IDS, layout


def test_rows_stand_text_after_text():
    where = layout()
    assert (where.texts, where.rows, where.longest) == (3, sum(LENGTHS), max(LENGTHS))
    assert where.starts.tolist() == [0, 5, 6, 24]
    assert where.row_text.tolist() == [0] * 5 + [1] + [2] * 18
    assert where.row_position.tolist() == [*range(5), 0, *range(18)]
    assert where.key.cpu().numpy().view(np.uint64).tolist() == [KEY]
    assert where.text_ids.cpu().numpy().view(np.uint64).tolist() == TEXT_IDS.tolist()


def test_first_rows_are_texts_of_one_row():
    cls_rows = layout().cls_rows
    assert (cls_rows.texts, cls_rows.rows, cls_rows.longest) == (3, 3, 1)
    assert cls_rows.starts.tolist() == [0, 1, 2, 3]
    assert cls_rows.row_text.tolist() == [0, 1, 2]
    assert cls_rows.row_position.tolist() == [0, 0, 0]


def test_texts_are_told_apart_by_length_where_that_makes_few_spans():
    assert spans([40, 33, 32, 20, 16, 3]) == (Span(0, 2, 40), Span(2, 2, 32), Span(4, 2, 16))
    assert spans([7, 9]) == (Span(0, 2, 9),)
    assert spans([40, 3, 40, 3]) == (Span(0, 4, 40),)


@pytest.mark.parametrize("lengths", [[1, 2], [1, 2, 0], []])
def test_every_text_needs_a_length(lengths):
    with pytest.raises(ValueError, match="one length of at least 1 per text"):
        PackedLayout.build(KEY, TEXT_IDS, lengths, DEVICE)
