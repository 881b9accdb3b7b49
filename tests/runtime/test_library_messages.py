import pytest
from transformers.utils import logging

from muka_fast.runtime.library_messages import quiet_libraries


@pytest.fixture
def talkative(monkeypatch):
    """Let transformers write what it writes by default, and forget it after the test."""
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    yield
    logging.set_verbosity(verbosity)
    if not bars:
        logging.disable_progress_bar()


def state():
    return logging.get_verbosity(), logging.is_progress_bar_enabled()


def test_warnings_and_bars_are_off_in_the_block_and_on_again_after_it(talkative):
    with quiet_libraries():
        assert state() == (logging.ERROR, False)
    assert state() == (logging.WARNING, True)


def test_they_are_on_again_after_an_error(talkative):
    with pytest.raises(ValueError, match="boom"), quiet_libraries():
        raise ValueError("boom")
    assert state() == (logging.WARNING, True)


def test_bars_that_were_off_stay_off(talkative):
    logging.disable_progress_bar()
    with quiet_libraries():
        pass
    assert state() == (logging.WARNING, False)


def test_nothing_changes_where_the_environment_decides(talkative, monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    with quiet_libraries():
        assert state() == (logging.WARNING, True)
