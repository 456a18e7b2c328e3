"""A thread that writes to the cell in which it was started, until that cell is through."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

_PATIENCE = 5.0
"""Seconds that the end of the thread is waited for; a front end that hangs must not hold the kernel."""


class CellThread:
    """Runs ``work``, which returns soon after ``done`` is set."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Start it; the context that it gets carries which cell an ipykernel thread writes to."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(work,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask it to return and wait for that."""
        self.done.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
