"""Fixtures of the tests of this machine and its processes."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in of IPython in a kernel; the list has every text that is displayed, in its order."""
    shown: list[str] = []

    def show(bundle, raw=False, display_id=None):
        assert raw
        shown.append(bundle["text/plain"])
        return SimpleNamespace(update=show)

    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.display = show
    monkeypatch.setenv("FORCE_COLOR", "1")  # kernels do
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown
