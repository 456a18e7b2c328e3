"""The output on its way to the browser: gathered, counted, kept for a view that comes later, never more than it can
take. Knows no widget.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD = 0.02
"""Seconds between two messages at least: Jupyter's server drops what a kernel says beyond 1,000 messages a second."""
PIECE = 128 << 10
"""Bytes of one message."""
WINDOW = 512 << 10
"""Bytes that may be on their way to a browser that answers."""
PATIENCE = 0.5
"""Seconds to wait for its answer. While a cell runs none may come: then a piece goes out each time this is over."""
_WAITING = 256 << 10
"""Bytes that wait here; beyond, the instance's program waits, as on any terminal."""
_KEPT = 256 << 10
"""Bytes of the past for a view that comes later."""


class Flow:
    """Takes output in one thread and sends it in another.

    Parameters
    ----------
    send : callable
        ``send(start, data)``: bytes of the whole stream, counted from its beginning.
    """

    def __init__(self, send: Callable[[int, bytes], None]) -> None:
        self._send = send
        self._change = threading.Condition()
        self._waiting = bytearray()
        self._past = bytearray()
        self._sent = self._seen = 0
        self._over = False
        self._thread = threading.Thread(target=self._run, name="oblako-shell-out", daemon=True)
        self._thread.start()

    def take(self, data: bytes) -> None:
        """Take output; waits while there is too much of it."""
        with self._change:
            self._change.wait_for(lambda: len(self._waiting) < _WAITING or self._over)
            self._waiting += data
            self._change.notify_all()

    def seen(self, count: int) -> None:
        """A browser has shown so many bytes."""
        with self._change:
            self._seen = max(self._seen, min(count, self._sent))
            self._change.notify_all()

    def past(self) -> tuple[int, bytes]:
        """The end of what was sent and where it starts, at the beginning of a line where something is left out."""
        with self._change:
            data, start = bytes(self._past), self._sent - len(self._past)
        if start:
            cut = data.find(b"\n") + 1
            data, start = data[cut:], start + cut
        return start, data

    def drain(self, timeout: float = 2.0) -> None:
        """Wait until all that was taken is sent."""
        with self._change:
            self._change.wait_for(lambda: not self._waiting or self._over, timeout)

    def close(self) -> None:
        """End the thread; what was not sent yet is not sent."""
        with self._change:
            self._over = True
            self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._over)
                end = time.monotonic() + PATIENCE
                while not self._over and self._sent - self._seen >= WINDOW and time.monotonic() < end:
                    self._change.wait(end - time.monotonic())
                if self._over:
                    return
                data, start = bytes(self._waiting[:PIECE]), self._sent
                del self._waiting[:PIECE]
                self._past += data
                del self._past[: max(0, len(self._past) - _KEPT)]
                self._sent += len(data)
            self._send(start, data)
            with self._change:
                self._change.notify_all()
            time.sleep(PERIOD)
