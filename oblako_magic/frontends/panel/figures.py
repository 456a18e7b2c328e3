"""CPU, memory and health, read in one thread while somebody looks, and of those rows alone that are on the screen."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import OblakoError
from ...handles import Instance
from .rows import Row

if TYPE_CHECKING:
    from ...cloud import Ec2

log = logging.getLogger(__name__)

PERIOD = 2.0
_HEALTH = 5.0
_ORPHANS = 30.0
"""Seconds between two looks at figures, at the engine and the control plane, and at what lies about."""


class Watcher:
    """What one panel wants to know, and how it is told.

    Parameters
    ----------
    tell : callable
        Gets messages for the browser.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell = tell
        self.visible: frozenset[str] = frozenset()
        self.head = True
        self.last_head: dict[str, Any] | None = None


class Figures:
    """The thread, while a panel is on somebody's screen.

    Parameters
    ----------
    ec2 : Ec2
    rows : callable
        The rows as now, by id.
    """

    def __init__(self, ec2: Ec2, rows: Callable[[], dict[str, Row]]) -> None:
        self._ec2, self._rows = ec2, rows
        self._lock = threading.Lock()
        self._watchers: list[Watcher] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._before: dict[str, dict[str, Any]] = {}
        self._due = {"health": 0.0, "orphans": 0.0}
        self._head: dict[str, Any] = {}

    def watch(self, watcher: Watcher) -> None:
        """Begin, or take note of what is visible now."""
        with self._lock:
            if watcher not in self._watchers:
                self._watchers.append(watcher)
                self._due = dict.fromkeys(self._due, 0.0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="oblako-panel-figures", daemon=True)
                self._thread.start()
        self._wake.set()

    def leave(self, watcher: Watcher) -> None:
        """Nobody looks at this panel; with the last one the thread ends."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
            thread = self._thread if not self._watchers else None
        if thread is not None:
            self._wake.set()
            if thread is not threading.current_thread():
                thread.join(5)

    def refresh(self) -> None:
        """Look at everything again soon: something was done about it."""
        self._due = dict.fromkeys(self._due, 0.0)
        self._wake.set()

    @property
    def running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._watchers:
                    self._thread = None
                    return
                watchers = list(self._watchers)
            self._wake.clear()
            try:
                self._figures(watchers)
                self._health(watchers)
            except OblakoError as error:
                log.info("the panel's figures: %s", error)
            except Exception:  # the next look may work
                log.exception("the panel's figures")
            self._wake.wait(PERIOD)

    def _figures(self, watchers: list[Watcher]) -> None:
        rows = self._rows()
        wanted = frozenset().union(*(watcher.visible for watcher in watchers))
        machines = [
            Instance(row.get("machine") or key, state="running", name=key)
            for key in wanted
            for row in [rows.get(key)]
            if row is not None and row["backed"] and row["container"] and row["state"] in ("running", "InService")
        ]
        if not machines:
            return
        found = {stats.name: stats for stats in self._ec2.figures(machines, self._before)}
        for watcher in watchers:
            mine = {
                key: [stats.cpu_percent, stats.memory_bytes, stats.memory_limit]
                for key, stats in found.items()
                if key in watcher.visible
            }
            if mine:
                watcher.tell({"kind": "figures", "figures": mine})

    def _health(self, watchers: list[Watcher]) -> None:
        watchers = [watcher for watcher in watchers if watcher.head]
        if not watchers:
            return
        now = time.monotonic()
        if now >= self._due["health"]:
            self._due["health"] = now + _HEALTH
            self._head = {**self._head, **self._state()}
        if self._head.get("engine"):
            self._head = {**self._head, "host": self._host()}
            if now >= self._due["orphans"] and self._head.get("running"):
                self._due["orphans"] = now + _ORPHANS
                self._head = {**self._head, "orphans": [vars(orphan) for orphan in self._ec2.orphans()]}
        for watcher in watchers:
            if watcher.last_head != self._head:
                watcher.last_head = self._head
                watcher.tell({"kind": "head", "head": self._head})

    def _host(self) -> dict[str, Any]:
        use = self._ec2.host_use()
        return {
            "cpus": use.cpus,
            "cpu": use.cpu_percent,
            "memory": use.memory_used,
            "memory_total": use.memory_total,
        }

    def _state(self) -> dict[str, Any]:
        try:
            status = self._ec2.status()
        except OblakoError as error:
            return {"running": False, "plane_error": str(error)}
        return {
            "running": status.running,
            "plane_error": "" if status.running else "the control plane is not running",
            "version": status.version,
            "endpoint": status.endpoint,
            "engine": status.engine,
            "engine_error": status.engine_error if status.running else "",
            "notices": list(status.notices),
        }
