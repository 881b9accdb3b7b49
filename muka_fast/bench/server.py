"""A runtime in a process of its own, as a service would run it.

Imports neither torch nor numpy, so that the process holds only the imports of its runtime.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from muka_fast.errors import MachineError

if TYPE_CHECKING:
    from muka_fast.bench.serving_runtimes import SetUp

SPAWNED = multiprocessing.get_context("spawn")


class Server:
    """A runtime in a process of its own, which answers one request at a time.

    Attributes:
        missing: Why it does not serve; empty if it does.
    """

    def __init__(self, set_up: SetUp, name: str) -> None:
        self._name = name
        self._connection, other_end = SPAWNED.Pipe()
        SPAWNED.Process(target=_serve, args=(set_up, other_end), daemon=True).start()
        other_end.close()
        self.missing: str = self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise MachineError(
                f"the process that served by {self._name} died",
                where="suite serving",
                hint="check whether the memory was enough",
            ) from None

    def answer(self, texts: Sequence[str]) -> tuple[list[str], float]:
        """Return the class names and the seconds they took in that process.

        Raises:
            MachineError: If the process has died.
        """
        self._connection.send(list(texts))
        labels, seconds = self._receive()
        return labels, seconds


def _serve(set_up: SetUp, connection: Any) -> None:
    try:
        serve = set_up()
        serve(["a first text"])  # compilation happens in the first call, and may fail there
    except Exception as error:  # noqa: BLE001 - any error makes the runtime a missing case, with this reason
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    connection.send("")
    while True:
        try:
            texts = connection.recv()
        except EOFError:
            return
        started = time.perf_counter()
        labels = serve(texts)
        connection.send((labels, time.perf_counter() - started))
