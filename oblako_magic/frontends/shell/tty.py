"""A shell in a terminal of the user's: raw bytes both ways, its size, and the terminal as it was at the end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import OblakoError
from ...handles import Instance
from ...shells import Shell


def attach(instance: Instance, open_shell: Callable[[tuple[int, int]], Shell]) -> str:
    """Give the terminal to a shell until it ends.

    Parameters
    ----------
    instance : Instance
    open_shell : callable
        Gets rows and columns.

    Returns
    -------
    str
        Why it has ended.

    Raises
    ------
    OblakoError
        Where there is no terminal to give.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        name = instance.name or instance.id
        raise OblakoError(f"a shell needs a terminal, and this is none; %ec2 exec {name} COMMAND runs a command.")
    if sys.platform == "win32":
        raise OblakoError(
            f"a shell in a Windows terminal is the engine's: docker exec -it {instance.container} sh; "
            "in JupyterLab %ec2 shell has one."
        )
    shell = open_shell(_size())
    try:
        with _raw(), _resizing(shell):
            _carry(shell)
        return shell.ending()
    finally:
        shell.close()


def _size() -> tuple[int, int]:
    columns, rows = shutil.get_terminal_size()
    with contextlib.suppress(OSError):
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return rows, columns


@contextmanager
def _raw() -> Iterator[None]:
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _resizing(shell: Shell) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: shell.resize(*_size()))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _carry(shell: Shell) -> None:
    """Bytes both ways until the shell ends or the terminal is gone."""
    over, ended = os.pipe()
    out = sys.stdout.fileno()

    def show() -> None:
        try:
            while data := shell.read():
                while data:
                    data = data[os.write(out, data) :]
        except OSError:
            pass  # the terminal is gone
        finally:
            os.write(ended, b".")

    reader = threading.Thread(target=show, name="oblako-shell", daemon=True)
    reader.start()
    terminal: Any = sys.stdin.fileno()
    try:
        while True:
            ready, _, _ = select.select([terminal, over], [], [])
            if over in ready:
                return
            data = os.read(terminal, 1 << 16)
            if not data:
                return
            with contextlib.suppress(OblakoError):  # it has just ended: the reader says so
                shell.write(data)
    finally:
        shell.terminal.close()
        reader.join(5)
        os.close(over)
        os.close(ended)
