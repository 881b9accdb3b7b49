"""``python -m muka_fast``, and the command ``muka-fast``: signals are handled from the first import on."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cut the first one's work off
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; SIGTERM, with which schedulers end a job, acts like Ctrl-C."""
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        from muka_fast.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
