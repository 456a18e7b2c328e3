"""One thread of the kernel that follows the control plane, for all panels together.

It waits for a change (a long poll, no looking again and again), makes an immutable :class:`~.rows.Snapshot` of the
answer and hands the difference to each listener. It runs as long as somebody listens and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import ControlPlaneTimeout, OblakoError
from .rows import Row, Snapshot, difference, event_line, rows_of

if TYPE_CHECKING:
    from ...cloud import Ec2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """What a look has brought.

    Parameters
    ----------
    before, now : Snapshot
    changed : list of dict
        Rows that are new or different.
    gone : list of str
        Ids.
    events : list of dict
        What the control plane's log has to tell of it, for the browser.
    """

    before: Snapshot
    now: Snapshot
    changed: list[Row]
    gone: list[str]
    events: list[dict[str, Any]]


Listener = Callable[[News], None]

_KEPT = 200
"""Events that a panel shows."""
_PATIENCE = 25.0
"""Seconds that one question waits for a change."""
_AGAIN = 1.0
"""Seconds after which a control plane that did not answer is looked for again."""
_BREATH = 0.03
"""Seconds between two questions: a burst of changes (500 launches) comes in a few answers and not in 500."""
ACCOUNT = "123456789012"
"""The account of test keys; a key that is an account's id means that account (moto's rule)."""


class Feed:
    """Follows the control plane while there are listeners.

    Parameters
    ----------
    ec2 : Ec2
    """

    def __init__(self, ec2: Ec2) -> None:
        self._ec2 = ec2
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._round: _Round | None = None
        self._reading = threading.Lock()
        self._heard: tuple[int, str] = 0, ""
        self._notebooks = False
        self.snapshot = Snapshot()
        self.events: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def listen(self, listener: Listener) -> Snapshot:
        """Begin to tell a listener of changes; what it does not hear of is in the snapshot that it gets here."""
        with self._lock:
            if listener not in self._listeners:
                self._listeners.append(listener)
            if self._round is None:
                self._round = _Round(self)
                self._round.start()
            return self.snapshot

    def leave(self, listener: Listener) -> None:
        """Tell a listener no more; the last one to leave ends the thread."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
            ended = None if self._listeners else self._round
            if ended is not None:
                self._round = None
        if ended is not None:
            ended.end()

    @property
    def running(self) -> bool:
        """Whether there is a thread."""
        return self._round is not None and self._round.is_alive()

    def look_once(self) -> None:
        """One look now, in the caller's thread, where nothing has been heard yet: the first view is not empty then."""
        if self.snapshot.revision is None:
            with contextlib.suppress(OblakoError):
                first = self._ask(None, None)
                self._listen_to_log()
                with self._lock:
                    if self.snapshot.revision is None:
                        self.snapshot = first

    def _ask(self, revision: int | None, on_open: Callable[[Any], None] | None) -> Snapshot:
        waiting = {} if revision is None else {"since": revision, "timeout": _PATIENCE}
        answer = self._ec2.watch("/instances", waiting, on_open=on_open)
        instances = answer["instances"]
        notebooks: list[dict[str, Any]] = []
        if any(raw.get("notebook") for raw in instances) or self._notebooks:
            notebooks = self._ec2.watch("/notebooks").get("notebooks", [])
            self._notebooks = bool(notebooks)
        return Snapshot(answer["revision"], rows_of(instances, notebooks, self.account))

    def _listen_to_log(self) -> list[dict[str, Any]]:
        """The events since the last time; the lines of another account are not ours to tell."""
        with self._reading:
            since, log_id = self._heard
            answer = self._ec2.watch("/events", {"since": since, "log": log_id})
            self._heard = answer["revision"], answer["log"]
            found = [event_line(raw) for raw in answer["events"] if raw["account"] in ("", self.account)]
            self.events.extend(found)
            return found

    @property
    def account(self) -> str:
        """Whose instances are shown."""
        from ...controlplane import process

        key = process.access_key(self._ec2.settings)
        return key if len(key) == 12 and key.isdigit() else ACCOUNT

    def take(self, new: Snapshot, round_: _Round, events: list[dict[str, Any]]) -> None:
        """Keep a snapshot and tell the listeners what is different; an ended round has nothing to say any more."""
        with self._lock:
            if self._round is not round_:
                return
            before, self.snapshot = self.snapshot, new
            listeners = list(self._listeners)
        changed, gone = difference(before.rows, new.rows)
        if changed or gone or events or before.problem != new.problem or before.revision is None:
            for listener in listeners:
                listener(News(before, new, changed, gone, events))


class _Round(threading.Thread):
    """The thread, from the first listener to the last."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(name="oblako-panel-feed", daemon=True)
        self._feed = feed
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def end(self) -> None:
        """End it; it is gone when this returns, unless it calls from itself."""
        self._over.set()
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self:
            self.join(5)

    def _opened(self, sock: socket.socket) -> None:
        with self._lock:
            self._socket = sock
            if self._over.is_set():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Ask, tell, and ask again."""
        feed, revision = self._feed, None
        while not self._over.is_set():
            pause = _BREATH
            try:
                new = feed._ask(revision, self._opened)
                revision = new.revision
                feed.take(new, self, feed._listen_to_log())
            except ControlPlaneTimeout:
                pass  # a suspended laptop
            except OblakoError as error:
                if self._over.is_set():
                    return
                # The rows stay: they are what was last known. A new control plane counts its revisions from 0.
                revision, pause = None, _AGAIN
                feed.take(Snapshot(feed.snapshot.revision, feed.snapshot.rows, str(error)), self, [])
            except (RuntimeError, ValueError, KeyError) as error:
                # The interpreter is going down, or something else answers on that port.
                log.warning("the panel's feed: %r", error)
                revision, pause = None, _AGAIN
            finally:
                with self._lock:
                    self._socket = None
            self._over.wait(pause)
