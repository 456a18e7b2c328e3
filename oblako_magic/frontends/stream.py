"""Brings a running command's output into a cell: at once, in order, and never too much of it.

A front end chokes on thousands of small messages and on megabytes of text. So chunks are gathered and written
about ten times a second, and after :data:`SHOWN` bytes one line says that the rest isn't shown.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Literal, TextIO

from .cell_thread import CellThread

SHOWN = 1024 * 1024
PERIOD = 0.1

Which = Literal["out", "err"]


class OutputWriter:
    """Takes chunks from any thread and writes them to the streams of the cell that made it.

    Parameters
    ----------
    limit : int
        Characters to show; 0 shows none.
    keep : bool
        Whether the whole output is kept, for ``--out`` and ``--err``.
    hint : str
        The end of the line that says that no more is shown.
    end_line : bool
        Whether to end the last line where the command didn't: something else is written below it.
    """

    def __init__(self, limit: int = SHOWN, *, keep: bool = False, hint: str = "", end_line: bool = False) -> None:
        self.kept: dict[Which, list[str]] = {"out": [], "err": []}
        self._keep = keep
        self._hint = hint
        self._limit = limit
        self._left = limit
        self._cut = False
        self._end_line = end_line
        self._last = ""
        self._pending: list[tuple[Which, str]] = []
        self._lock = threading.Lock()
        self._thread = CellThread()
        # Held now: a thread must not look sys.stdout up later, when another cell may run.
        self._streams: dict[Which, TextIO] = {"out": sys.stdout, "err": sys.stderr}

    def out(self, text: str) -> None:
        """Take a chunk of standard output."""
        self._take("out", text)

    def err(self, text: str) -> None:
        """Take a chunk of standard error."""
        self._take("err", text)

    def text(self, which: Which) -> str:
        """All that was kept of a stream."""
        return "".join(self.kept[which])

    def __enter__(self) -> OutputWriter:
        self._thread.start(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.end()
        if self._end_line and self._last and not self._last.endswith("\n"):
            self.out("\n")
        self._flush()

    def _take(self, which: Which, text: str) -> None:
        if not text:
            return
        with self._lock:
            if self._keep:
                self.kept[which].append(text)
            if self._cut:
                return
            if len(text) > self._left:
                text, self._cut = text[: self._left], True
            self._left -= len(text)
            if text:
                self._pending.append((which, text))
                self._last = text[-1]
            if self._cut:
                shown = f"{self._limit / SHOWN:.3g} MiB" if self._limit >= SHOWN // 10 else f"{self._limit} characters"
                self._pending.append(("err", f"\n[output is shown up to {shown}; the rest is not{self._hint}]\n"))

    def _run(self) -> None:
        while not self._thread.done.wait(PERIOD):
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
            joined: list[tuple[Which, list[str]]] = []
            for which, text in pending:
                if not joined or joined[-1][0] != which:
                    joined.append((which, []))
                joined[-1][1].append(text)
            # Written under the lock, so that two flushes can't swap their order.
            for which, parts in joined:
                stream = self._streams[which]
                stream.write("".join(parts))
                stream.flush()
