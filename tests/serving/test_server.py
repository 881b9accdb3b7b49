"""The server as a process: it answers, and a signal ends it after the requests in progress."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from muka_fast.errors import MachineError
from muka_fast.serving.server import listen
from tests.helpers.commands import invoke


@pytest.fixture
def server(exported):
    command = [sys.executable, "-m", "muka_fast", "serve", exported, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_sigterm_ends_it_after_the_request_in_progress(server):
    line = server.stderr.readline()
    assert line.startswith("serving "), line
    address = line.split(" on ")[1].split(";")[0]
    request = urllib.request.Request(
        f"{address}/predict", b'{"inputs": "play some jazz"}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert {one["label"] for one in json.load(response)} == {"music", "weather"}
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        body = b'{"inputs": "play some jazz"}'
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # the server is reading this request
        server.send_signal(signal.SIGTERM)
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    stdout, stderr = server.communicate(timeout=20)
    assert (server.returncode, stdout, stderr) == (0, "", "stopped\n")


def test_a_port_that_is_taken_and_a_strange_address_are_named():
    with listen("127.0.0.1", 0) as first, pytest.raises(MachineError, match="cannot listen"):
        listen("127.0.0.1", first.getsockname()[1])
    for host in ("host.invalid", "a..b", "a" * 70):
        with pytest.raises(MachineError, match="cannot listen"):
            listen(host, 0)


def test_a_folder_without_an_export_and_a_missing_package_are_named(tmp_path, monkeypatch):
    result = invoke("serve", tmp_path)
    assert (result.exit_code, "no export.json in the folder" in result.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("muka_fast.serving")]:
        monkeypatch.delitem(sys.modules, name)
    result = invoke("serve", tmp_path)
    assert result.exit_code == 3
    assert "pip install 'muka-fast[serve]'" in result.stderr
