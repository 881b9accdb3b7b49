"""Requests joined into batches: what is joined, in which order, and what one request cannot do to another."""

import threading

import numpy as np
import pytest

from muka_fast.errors import TextError
from muka_fast.serving.batcher import Batcher
from muka_fast.serving.schema import RequestError


class Lengths:
    """A classifier: the two logits of a text are its length and that of its pair. It waits until it may go on."""

    def __init__(self):
        self.batches, self.may_run, self.runs = [], threading.Event(), threading.Event()
        self.may_run.set()

    def logits(self, texts, pairs=None):
        self.runs.set()
        assert self.may_run.wait(10)
        self.batches.append(list(texts))
        for index, text in enumerate(texts):
            if text == "bad":
                raise TextError("a text has no tokens", index=index)
            if text == "fatal":
                raise MemoryError
        return np.array([[len(text), len(pair)] for text, pair in zip(texts, pairs or [""] * len(texts), strict=True)])

    def exceed_max_length(self, texts, pairs=None):
        return [len(text) > 10 for text in texts]


@pytest.fixture
def classifier():
    return Lengths()


@pytest.fixture
def timings():
    return []


@pytest.fixture
def batcher(classifier, timings):
    batcher = Batcher(classifier, 4, timings.append)
    batcher.start()
    yield batcher
    classifier.may_run.set()
    batcher.close()


def submit_behind_a_running_batch(batcher, classifier, requests, **options):
    """Queue requests while another one is computed; return what is to come of them."""
    classifier.may_run.clear()
    first = batcher.submit([("first",)], truncates=True)
    assert classifier.runs.wait(10)
    waiting = [batcher.submit(texts, **{"truncates": True} | options) for texts in requests]
    classifier.may_run.set()
    assert first.result(10).tolist() == [[5, 0]]
    return waiting


def test_waiting_requests_are_joined_in_their_order_up_to_the_limit(batcher, classifier, timings):
    requests = [[("a",), ("bb",)], [("ccc",)], [("d" * 4,), ("e" * 5,)], [("f" * 6,)]]
    waiting = submit_behind_a_running_batch(batcher, classifier, requests)
    assert [[row[0] for row in one.result(10).tolist()] for one in waiting] == [[1, 2], [3], [4, 5], [6]]
    assert classifier.batches == [["first"], ["a", "bb", "ccc"], ["dddd", "eeeee", "ffffff"]]
    batcher.close()
    assert [(one.texts, len(one.waited)) for one in timings] == [(1, 1), (3, 2), (3, 2)]


def test_a_request_of_more_texts_than_a_batch_is_one(batcher, classifier):
    assert len(batcher.submit([("a",)] * 9, truncates=True).result(10)) == 9
    assert classifier.batches == [["a"] * 9]


def test_single_texts_and_pairs_of_a_request_keep_their_order(batcher):
    logits = batcher.submit([("a", "bb"), ("ccc",), ("d", "e")], truncates=True).result(10)
    assert logits.tolist() == [[1, 2], [3, 0], [1, 1]]


@pytest.mark.parametrize(
    ("text", "error_type", "message"),
    [("bad", "tokenizer", "text 1: a text has no tokens"), ("fatal", "backend", "inference failed: MemoryError")],
)
def test_a_text_that_fails_fails_its_own_request_only(batcher, classifier, text, error_type, message):
    good, bad, other = submit_behind_a_running_batch(batcher, classifier, [[("a",)], [("b",), (text,)], [("c",)]])
    assert (good.result(10).tolist(), other.result(10).tolist()) == ([[1, 0]], [[1, 0]])
    with pytest.raises(RequestError, match=message) as caught:
        bad.result(10)
    assert caught.value.reply.error_type == error_type
    assert batcher.is_alive


def test_a_long_text_fails_where_truncation_is_forbidden(batcher, classifier):
    long = [("a",), ("b" * 11,)]
    assert batcher.submit(long, truncates=True).result(10)[1, 0] == 11
    with pytest.raises(RequestError, match="text 1 is longer") as caught:
        batcher.submit(long, truncates=False).result(10)
    assert caught.value.status == 413
    assert batcher.submit(long[:1], truncates=False).result(10).tolist() == [[1, 0]]


def test_closing_answers_what_waits_and_refuses_the_rest(batcher, classifier):
    waiting = submit_behind_a_running_batch(batcher, classifier, [[("a",)], [("b",)]])
    batcher.close()
    assert [one.result(0).tolist() for one in waiting] == [[[1, 0]], [[1, 0]]]
    assert not batcher.is_alive
    with pytest.raises(RequestError, match="shuts down"):
        batcher.submit([("c",)], truncates=True)


def test_a_request_that_was_given_up_is_left_out(batcher, classifier):
    classifier.may_run.clear()
    batcher.submit([("first",)], truncates=True)
    assert classifier.runs.wait(10)
    given_up, kept = (batcher.submit([(text,)], truncates=True) for text in ("a", "b"))
    assert given_up.cancel()
    classifier.may_run.set()
    assert kept.result(10).tolist() == [[1, 0]]
    assert classifier.batches == [["first"], ["b"]]
