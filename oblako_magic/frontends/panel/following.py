"""Logs and consoles that are open in a panel: one thread each, until the browser or the panel closes it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import OblakoError

if TYPE_CHECKING:
    from ...cloud import Ec2
    from ...handles import Instance

Tell = Callable[[dict[str, Any]], None]

TAIL = 1000
"""Lines of a log that are shown at first."""
_GATHER = 0.1
"""Seconds of output that travel in one message: an instance may write faster than a browser can show."""
_MOST = 256 * 1024
"""Characters of one message; what a flood brings beyond it is left out, and the text says so."""


class Following:
    """One text that is followed.

    Parameters
    ----------
    ec2 : Ec2
    machine : Instance
    what : {"logs", "console"}
    key : str
        The row's id, which goes with each message.
    tell : callable
    """

    def __init__(self, ec2: Ec2, machine: Instance, what: str, key: str, tell: Tell) -> None:
        self._ec2, self._machine, self._what, self._key, self._tell = ec2, machine, what, key, tell
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._parts: list[str] = []
        self._thread = threading.Thread(target=self._run, name=f"oblako-panel-{what}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; the thread is gone when this returns."""
        self._over.set()
        with self._lock:
            if self._stream is not None:
                with contextlib.suppress(Exception):  # whatever docker-py makes of a stream that is closed twice
                    self._stream.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _opened(self, stream: Any) -> None:
        with self._lock:
            self._stream = stream
        if self._over.is_set():
            stream.close()

    def _say(self, text: str, **more: Any) -> None:
        if not self._over.is_set():
            self._tell({"kind": "text", "id": self._key, "what": self._what, "text": text, **more})

    def _run(self) -> None:
        try:
            if self._what == "console":
                self._ec2.follow_console(self._machine, lambda text: self._say(text, whole=True), self._over.wait)
            else:
                self._follow()
        except OblakoError as error:
            self._say("", end=str(error))
        except Exception as error:  # closed in the middle of a read; or said in the panel, not to a thread's hook
            self._say("", end=f"the output could not be followed ({error})")

    def _follow(self) -> None:
        sender = threading.Thread(target=self._send, name="oblako-panel-send", daemon=True)
        sender.start()
        self._say("", whole=True)
        try:
            self._ec2.logs(self._machine, follow=True, tail=TAIL, on_output=self._take, on_open=self._opened)
        finally:
            with self._lock:
                self._stream = None
        sender_end = self._over.is_set()
        self._flush()
        if not sender_end:
            self._say("", end="the output has ended: the instance does not run")
        self._over.set()
        sender.join(5)

    def _take(self, text: str) -> None:
        with self._lock:
            self._parts.append(text)

    def _send(self) -> None:
        while not self._over.wait(_GATHER):
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            text, self._parts = "".join(self._parts), []
        if len(text) > _MOST:
            text = f"[{len(text) - _MOST} characters are not shown]\n{text[-_MOST:]}"
        if text:
            self._say(text)
