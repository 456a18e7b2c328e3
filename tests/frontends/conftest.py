"""A real shell, with the extension in it, on a cloud in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

from tests.frontends.fake_ec2 import FakeEc2


@pytest.fixture(scope="session")
def bare_shell() -> Iterator[Any]:
    """One shell for all tests: making one takes a while."""
    shell: Any = InteractiveShell.instance()
    # No history database: its thread would outlive the test.
    shell.history_manager.enabled = False
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Loading starts nothing; what would have been started is noted."""
    from oblako_magic.frontends import extension

    started: list[str] = []

    def start() -> tuple[list[tuple[str, str]], list[str]]:
        started.append("start")
        return [("i-0123456789abcdef0", "from-before")], ["lab-from-before"]

    monkeypatch.setattr(extension, "_control_plane", lambda: ("http://127.0.0.1:41234", start))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("OBLAKO_STATE_DIR", str(tmp_path / "state"))
    return started


@pytest.fixture
def cloud() -> FakeEc2:
    """The cloud that the magics of ``shell`` use."""
    return FakeEc2()


@pytest.fixture
def shell(bare_shell: Any, no_process: list[str], cloud: FakeEc2) -> Iterator[Any]:
    """A shell with the extension loaded and no names of the user's."""
    kept = set(bare_shell.user_ns)
    with capture_output():
        bare_shell.run_line_magic("load_ext", "oblako_magic")
    bare_shell._oblako_magic.magics._ec2 = cloud
    yield bare_shell
    with capture_output():
        bare_shell.run_line_magic("unload_ext", "oblako_magic")
    # Not reset(): that collects garbage, which takes longer than the test.
    for name in set(bare_shell.user_ns) - kept:
        del bare_shell.user_ns[name]


class Cell:
    """What a cell gave: its value, what it displayed, its streams and its error."""

    def __init__(self, shell: Any, source: str) -> None:
        with capture_output() as captured:
            self.run = shell.run_cell(source, store_history=False)
        assert isinstance(captured, CapturedIO)
        self.stdout, self.stderr = captured.stdout, captured.stderr
        self.value: Any = self.run.result
        self.error = self.run.error_in_exec or self.run.error_before_exec
        self.displayed: list[dict[str, str]] = [output.data for output in captured.outputs]


@pytest.fixture
def cell(shell: InteractiveShell) -> Any:
    """Runs the source of a cell."""
    return lambda source: Cell(shell, source)
