"""A stand-in of the Hugging Face hub: the part of its HTTP API that an upload uses."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    """What was committed, by branch and name."""

    visibility: str | None = None
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})


@dataclass
class Hub:
    """The server's address and content."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    """Statuses to answer with, by the end of a request's path."""


def _answer(hub: Hub, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    status = next((status for end, status in hub.answers.items() if path.endswith(end)), None)
    if status is not None:
        return status, {"error": "as the test asked"}
    if path == "/api/repos/create":
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        exists = name in hub.repositories
        if not exists:
            visibility = asked.get("visibility") or ("private" if asked.get("private") else "public")
            hub.repositories[name] = Repository(visibility)
        return (409 if exists else 200), {"url": f"{hub.endpoint}/{name}", "error": "it exists"}
    if path == "/api/validate-yaml":
        valid = json.loads(body)["content"].startswith("---\n")
        return (200 if valid else 400), {"errors": [] if valid else [{"message": "no header"}], "warnings": []}
    owner, name, verb, revision = path.removeprefix("/api/models/").split("/")
    branches = hub.repositories[f"{owner}/{name}"].branches
    if verb == "branch":
        branches.setdefault(revision, {})
        return 200, {}
    if verb == "preupload":
        files = [file["path"] for file in json.loads(body)["files"]]
        return 200, {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]}
    for line in map(json.loads, body.splitlines()):
        if line["key"] == "file":
            branches[revision][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
    return 200, {"commitUrl": f"{hub.endpoint}/{owner}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40}


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a hub without repositories on this machine; it takes the token :data:`TOKEN`."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            hub.requests.append(self.path)
            status, answer = 401, {"error": "Invalid credentials"}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, answer = _answer(hub, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
