"""What commands show while they work."""

import io

import pytest
from rich.console import Console

from moeclip_med.cli import console


@pytest.mark.parametrize(
    ("is_terminal", "quiet", "is_shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_model_that_is_being_loaded_is_told_on_a_terminal_alone(monkeypatch, is_terminal, quiet, is_shown):
    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=is_terminal, width=80)
    monkeypatch.setattr(console, "make_console", lambda *, stderr: shown if stderr else None)

    with console.loading_model(quiet=quiet):
        pass

    assert ("Loading the model" in screen.getvalue()) is is_shown
    assert (screen.getvalue() == "") is not is_shown
