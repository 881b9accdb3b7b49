import sys
from types import SimpleNamespace

import pytest

from muka_fast.runtime.notebook import NotebookLine, in_notebook


def test_a_line_is_displayed_and_written_over(notebook):
    line = NotebookLine("one")
    line.update("two")
    assert notebook == ["one", "two"]


def test_a_kernel_is_a_notebook(notebook):
    assert in_notebook()


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_ipython_on_a_terminal_is_none(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert not in_notebook()


def test_a_process_without_ipython_is_none(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
