"""uvicorn on a socket, until a signal ends it; requests in progress are answered first."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from muka_fast.errors import MachineError

SHUTDOWN_SECONDS = 30
"""Time that requests in progress have after the first signal."""


def listen(host: str, port: int) -> socket.socket:
    """Open a socket.

    Args:
        host: Address or name to listen on.
        port: Port; 0 for any free one.

    Raises:
        MachineError: If the port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MachineError(
            f"cannot listen: {reason}", where=f"{host}:{port}", hint="choose another --host or --port"
        ) from None


def run(app: Any, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve an application until SIGTERM or Ctrl-C; a second signal ends it at once.

    Args:
        app: The ASGI application.
        listening: An open socket.
        ready: Receives the address once requests are answered.

    Raises:
        KeyboardInterrupt: After a second signal.
        MachineError: If the application does not start.
    """
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=SHUTDOWN_SECONDS
    )
    server = _Server(config, lambda: ready(_address(listening)))
    # uvicorn repeats the signal when it has shut down, for handlers that were there before.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if server.force_exit:
        raise KeyboardInterrupt
    if not server.started:
        raise MachineError("the server did not start", where=_address(listening), hint="see the messages above")


class _Server(uvicorn.Server):
    """uvicorn's server, which reports when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _address(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
