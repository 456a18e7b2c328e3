"""Threads that do what was clicked, while the kernel's own goes on. They end when there is nothing to do."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

_THREADS = 4
_IDLE = 2.0


class Worker:
    """A few daemon threads, made on need."""

    def __init__(self) -> None:
        self._due = threading.Condition()
        self._tasks: deque[Callable[[], None]] = deque()
        self._idle = self._threads = 0
        self._closed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Do it soon; nothing after :meth:`close`."""
        with self._due:
            if self._closed:
                return
            self._tasks.append(task)
            if self._idle >= len(self._tasks) or self._threads >= _THREADS:
                self._due.notify()
            else:
                self._threads += 1
                threading.Thread(target=self._work, name="oblako-panel-work", daemon=True).start()

    def close(self) -> None:
        """Take nothing more; what has begun goes to its end."""
        with self._due:
            self._closed = True
            self._tasks.clear()
            self._due.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._due:
            if not self._tasks and not self._closed:
                self._idle += 1
                self._due.wait_for(lambda: bool(self._tasks) or self._closed, _IDLE)
                self._idle -= 1
            if self._tasks:
                return self._tasks.popleft()
            self._threads -= 1
            return None

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except Exception:
                log.exception("a panel's task failed")
