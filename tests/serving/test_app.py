"""The HTTP interface: replies as text-embeddings-inference gives them, limits, errors, metrics."""

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient

from muka_fast.export import OnnxClassifier
from muka_fast.serving.app import create_app
from muka_fast.serving.schema import Limits

TEXTS = ["play some jazz", "what is the weather in paris", "lost my card", "turn the light off in the bedroom now"]
LIMITS = Limits(batch=8, client_batch=4, body_bytes=2_000, characters=400)


@pytest.fixture(scope="module")
def classifier(exported):
    return OnnxClassifier(exported, threads=1)


@pytest.fixture
def client(exported, classifier):
    with TestClient(create_app(exported, classifier, LIMITS)) as client:
        yield client


def predict(client, inputs, **options):
    response = client.post("/predict", json={"inputs": inputs, **options})
    assert response.status_code == 200, response.text
    return response.json()


def as_rows(reply, labels):
    """Return the scores of a batch's reply, (N, C), in the order of the labels."""
    return np.array([[{one["label"]: one["score"] for one in row}[label] for label in labels] for row in reply])


def test_a_text_gets_all_classes_the_most_likely_first(client, classifier):
    (expected,) = classifier.predict_proba(TEXTS[:1])
    reply = predict(client, TEXTS[0])
    assert [set(one) for one in reply] == [{"score", "label"}] * 2
    assert [one["score"] for one in reply] == sorted(expected.tolist(), reverse=True)
    assert reply[0]["label"] == classifier.labels[int(expected.argmax())]


def test_a_batch_gets_a_list_for_each_text_and_raw_scores_are_logits(client, classifier):
    batch = [[text] for text in TEXTS]
    np.testing.assert_allclose(
        as_rows(predict(client, batch), classifier.labels), classifier.predict_proba(TEXTS), atol=1e-6
    )
    np.testing.assert_allclose(
        as_rows(predict(client, batch, raw_scores=True), classifier.labels), classifier.logits(TEXTS), atol=1e-6
    )
    assert [len(reply) for reply in (predict(client, batch[:1]), predict(client, TEXTS[:1]))] == [1, 2]


def test_a_list_of_two_texts_is_a_pair(client, classifier):
    (expected,) = classifier.predict_proba(TEXTS[:1], TEXTS[1:2])
    (single,) = classifier.predict_proba(TEXTS[:1])
    reply = as_rows([predict(client, TEXTS[:2])], classifier.labels)
    np.testing.assert_allclose(reply[0], expected, atol=1e-6)
    assert np.abs(expected - single).max() > 1e-5
    mixed = as_rows(predict(client, [TEXTS[:2], TEXTS[:1]]), classifier.labels)
    np.testing.assert_allclose(mixed, [expected, single], atol=1e-6)


def test_requests_at_the_same_time_get_the_reply_that_each_gets_alone(client, classifier):
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    expected = classifier.predict_proba(texts)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda text: predict(client, text), texts))
    np.testing.assert_allclose(as_rows(replies, classifier.labels), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (b"{", 400, "validation", "not JSON"),
        (b"", 422, "validation", ""),
        (b"[]", 422, "validation", ""),
        ({}, 422, "validation", "inputs: give a string"),
        ({"inputs": 1}, 422, "validation", "inputs: give a string"),
        ({"inputs": None}, 422, "validation", "inputs: give a string"),
        ({"inputs": []}, 422, "validation", "inputs: give a string"),
        ({"inputs": ["a", "b", "c"]}, 422, "validation", "inputs: give a string"),
        ({"inputs": [["a"], "b"]}, 422, "validation", "inputs: give a string"),
        ({"inputs": [["a"], []]}, 422, "validation", "inputs: give a string"),
        ({"inputs": [["a", "b", "c"]]}, 422, "validation", "inputs: give a string"),
        ({"inputs": "a", "truncate": "yes"}, 422, "validation", "truncate: "),
        ({"inputs": "a", "raw_scores": 1}, 422, "validation", "raw_scores: "),
        ({"inputs": "a", "truncation_direction": "Left"}, 422, "validation", "cut on the right"),
        (b'{"inputs": "\\ud800"}', 422, "tokenizer", "text 0 is not Unicode"),
        ({"inputs": ""}, 400, "empty", "text 0 is empty"),
        ({"inputs": [["a"], ["b", ""]]}, 400, "empty", "text 1 is empty"),
        ({"inputs": [["a"]] * 5}, 413, "validation", "batch size 5 > maximum allowed batch size 4"),
        ({"inputs": [["a"], ["b" * 401]]}, 413, "validation", "text 1 has 401 characters"),
        ({"inputs": "b " * 200, "truncate": False}, 413, "validation", "text 0 is longer than the model takes"),
        ({"inputs": "a" * 2_000}, 413, "validation", "the body is larger than 2000 bytes"),
    ],
)
def test_a_malformed_request_gets_4xx_and_a_reason(client, body, status, kind, message):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error_type"]) == (status, kind)
    assert message in response.json()["error"]
    assert set(response.json()) == {"error", "error_type"}
    assert predict(client, "play some jazz")


def test_a_body_in_chunks_has_the_same_limit(client):
    def chunks():
        yield b'{"inputs": "'
        for _ in range(10):
            yield b"a" * 300

    response = client.post("/predict", content=chunks(), headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error_type"]) == (413, "validation")


def test_unknown_paths_and_methods_get_4xx(client):
    assert [client.get("/").status_code, client.get("/predict").status_code] == [404, 405]
    assert client.post("/predict", content=b'{"inputs": "a"}', headers={"Content-Type": "text/plain"}).is_client_error


def test_requests_beyond_the_limit_are_refused_at_once(exported, classifier):
    app = create_app(exported, classifier, Limits(concurrent_requests=2))

    async def post(wait):
        """Send a request whose body comes after ``wait``; return its status."""
        sent = []

        async def receive():
            await wait()
            return {"type": "http.request", "body": b'{"inputs": "play some jazz"}'}

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
        await app(scope | {"http_version": "1.1", "scheme": "http"}, receive, send)
        return sent[0]["status"]

    async def run():
        async with app.router.lifespan_context(app):
            bodies = asyncio.Event()
            slow = [asyncio.create_task(post(bodies.wait)) for _ in range(2)]
            await asyncio.sleep(0)  # both have begun
            refused = await post(lambda: asyncio.sleep(0))
            bodies.set()
            return refused, await asyncio.gather(*slow), await post(lambda: asyncio.sleep(0))

    assert asyncio.run(run()) == (429, [200, 200], 200)


def test_a_model_that_fails_gets_424_and_the_server_goes_on(exported, classifier, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret")

    with TestClient(create_app(exported, classifier)) as client:
        with monkeypatch.context() as patch:
            patch.setattr(classifier, "logits", fail)
            response = client.post("/predict", json={"inputs": "a"})
            patch.setattr(classifier, "logits", lambda texts, pairs: np.full((len(texts), 2), np.nan))
            nan = client.post("/predict", json={"inputs": "a"})
        assert (response.status_code, response.json()["error"]) == (424, "inference failed: RuntimeError")
        assert (nan.status_code, nan.json()["error_type"]) == (424, "backend")
        assert predict(client, "play some jazz")


def test_health_follows_the_thread_that_answers(exported, classifier):
    app = create_app(exported, classifier)
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
    stopped = TestClient(app).get("/health")  # its lifespan has ended
    assert (stopped.status_code, stopped.json()) == (503, {"error": "unhealthy", "error_type": "unhealthy"})


def test_info_has_the_keys_of_tei_and_no_path_of_this_machine(client, classifier):
    info = client.get("/info").json()
    assert info["model_type"]["classifier"] == {
        "id2label": {"0": "music", "1": "weather"},
        "label2id": {"music": 0, "weather": 1},
    }
    assert (info["max_input_length"], info["max_client_batch_size"]) == (classifier.max_length, 4)
    assert (info["model_id"], info["model_dtype"], info["auto_truncate"]) == ("out", "float32", True)
    assert "/" not in json.dumps(info)


def test_metrics_count_requests_batches_and_predictions(client, classifier):
    predict(client, [[text] for text in TEXTS])
    assert client.post("/predict", content=b"{").is_client_error
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert lines['muka_fast_requests_total{status="200"}'] == "1.0"
    assert sum(float(n) for name, n in lines.items() if name.startswith("muka_fast_requests_total")) == 2
    assert (lines["muka_fast_batch_texts_sum"], lines["muka_fast_confidence_count"]) == ("4.0", "4.0")
    best = classifier.labels[int(classifier.predict_proba(TEXTS)[0].argmax())]
    assert float(lines[f'muka_fast_predictions_total{{label="{best}"}}']) >= 1
    assert lines["muka_fast_requests_in_progress"] == "0.0"


def test_the_openapi_page_describes_the_schema(client):
    schema = client.get("/openapi.json").json()
    request = schema["components"]["schemas"]["PredictRequest"]
    assert set(request["properties"]) == {"inputs", "truncate", "truncation_direction", "raw_scores"}
    assert request["required"] == ["inputs"]
    assert {"200", "400", "413", "422", "424", "429"} <= set(schema["paths"]["/predict"]["post"]["responses"])
    assert "swagger" in client.get("/docs").text


def test_it_imports_neither_torch_nor_transformers():
    code = (
        "import sys; import muka_fast.serving.app, muka_fast.serving.server, muka_fast.cli\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'datasets', 'scipy', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
