from muka_fast.bench.server import Server


def broken():
    raise RuntimeError("no compiler here\nmore")


def length():
    return lambda texts: [str(len(text)) for text in texts]


def test_a_server_answers_and_measures_its_time():
    server = Server(length, "length")
    assert server.missing == ""
    labels, seconds = server.answer(["a", "abc"])
    assert labels == ["1", "3"]
    assert seconds > 0


def test_a_runtime_that_cannot_be_set_up_is_missing_with_its_error():
    assert Server(broken, "broken").missing == "RuntimeError: no compiler here"
