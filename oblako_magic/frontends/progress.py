"""One line that says what a wait is waiting for, once it takes more than a moment.

Nothing is written when the work ends within :data:`MOMENT`, so a fast launch leaves no trace in a saved
notebook. In a notebook the line is a display that is updated in place and emptied at the end; in a terminal it
is rewritten with a carriage return on standard error; elsewhere (a file, a pipe) there is none.
"""

from __future__ import annotations

import functools
import sys
import time
from types import TracebackType
from typing import Any, Protocol

from .cell_thread import CellThread
from .render import progress_html

MOMENT = 0.7
PERIOD = 0.5


class Sink(Protocol):
    """Where the line is shown."""

    def show(self, text: str) -> None:
        """Show or replace the line."""

    def clear(self) -> None:
        """Take the line away."""


class NotebookSink:
    """A display in the cell's output."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Show or replace the line."""
        from IPython import display as ipython_display

        display: Any = ipython_display.display
        data = {"text/plain": text, "text/html": progress_html(text)}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def clear(self) -> None:
        """Empty the display; it can't be removed."""
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)


class TerminalSink:
    """A line on standard error, rewritten in place."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, text: str) -> None:
        """Show or replace the line."""
        text = text[:100]
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Blank the line."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()


def sink(shell: Any) -> Sink | None:
    """The sink that suits where we run; ``shell`` is None in a plain terminal command."""
    if shell is not None and getattr(shell, "kernel", None) is not None:
        return NotebookSink()
    return TerminalSink() if sys.stderr.isatty() else None


class Progress:
    """Shows the last text given to :meth:`update`, with the seconds that passed.

    Parameters
    ----------
    where : Sink or None
    text : str
        What to show until the first update.
    """

    def __init__(self, where: Sink | None, text: str) -> None:
        self._sink = where
        self._text = text
        self._thread = CellThread()
        self._began = time.monotonic()

    def update(self, text: str) -> None:
        """Say what is being waited for now."""
        self._text = text

    def __enter__(self) -> Progress:
        if self._sink is not None:
            self._thread.start(functools.partial(self._run, self._sink))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.end()

    def _run(self, where: Sink) -> None:
        pause, shown = MOMENT, False
        while not self._thread.done.wait(pause):
            where.show(f"{self._text} ({time.monotonic() - self._began:.0f} s)")
            pause, shown = PERIOD, True
        if shown:
            where.clear()
