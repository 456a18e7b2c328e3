"""Ports that are published on instances while they run: what should listen, does (ADR 0007).

Level-triggered, as the loop is: whatever has changed, ``apply`` compares what should be published with what is.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..engine import Engine, dial, publish, relay
from ..errors import EngineError, NotFound, OblakoError, PortTaken
from ..model import Backing, PortMapping
from ..settings import Settings
from .forward import Forwarder, Key, Target
from .intent import Intent
from .semantics import backing
from .store import StateError, Store

log = logging.getLogger(__name__)

_SOON = 2.0
"""Seconds until what did not work is tried again, and between two looks at the same relay."""
_PATIENCE = 3.0
"""Seconds that the end of the process waits for what is under way."""
_TRIES = 5
MOVED = "was taken meanwhile"
HELD = "the engine holds it until the instance is terminated"


@dataclass
class _Open:
    """A listener: what it is for, and which container it led to last."""

    mapping: PortMapping
    seen: tuple[str, str] | None = None
    target: Target | None = None
    relayed: bool = False
    looked: float = 0.0


class Publisher:
    """Publishes ports of running instances, and keeps them published.

    Parameters
    ----------
    settings : Settings
    lock : threading.RLock
        Moto's.
    intent : Intent
    store : Store
    control_plane : str
        On the labels of relays.
    engine : callable
        The connected engine, or ``EngineUnavailable``.
    """

    def __init__(
        self,
        settings: Settings,
        lock: Any,
        intent: Intent,
        store: Store,
        control_plane: str,
        *,
        engine: Callable[[], Engine],
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._intent = intent
        self._store = store
        self._control_plane = control_plane
        self._engine = engine
        self._forwarder = Forwarder()
        self._turn = threading.RLock()
        self._open: dict[Key, _Open] = {}
        self._litter = True
        """Whether relays may be left that nothing leads to."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="publish", daemon=True)

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen again for what was published before, and follow what changes."""
        self._forwarder.start()
        self._thread.start()

    def close(self) -> None:
        """Listen no more; the ports stay the instances' and are back with the next start."""
        self._closing.set()
        # Whoever pulls an image for a relay is not waited for.
        mine = self._turn.acquire(timeout=_PATIENCE)
        try:
            self._forwarder.stop()
            if mine and any(entry.relayed for entry in self._open.values()):
                with contextlib.suppress(EngineError):
                    relay.sweep(self._engine(), self._control_plane, keep=())
        finally:
            if mine:
                self._turn.release()

    def _follow(self) -> None:
        while not self._closing.is_set():
            revision = self._intent.revision
            try:
                settled = self.apply()
            except Exception:
                log.exception("publishing")
                settled = False
            self._intent.wait(revision, self._settings.resync if settled else _SOON)

    # -- what should be -----------------------------------------------------------------------------

    def apply(self) -> bool:
        """Bring the listeners to what they should be; False where something is to be tried again soon."""
        with self._turn:
            if self._closing.is_set():
                return True
            wanted = {
                (instance_id, mapping.container_port): (mapping, mine)
                for instance_id, mine in self._intent.live()
                for mapping in mine.live
            }
            for key in [key for key in self._open if key not in wanted]:
                self._close(key)
            # Every one of them, also after one that failed.
            settled = {self._ensure(key, mapping, mine) for key, (mapping, mine) in wanted.items()} <= {True}
            return self._sweep() and settled

    def _close(self, key: Key) -> None:
        entry = self._open.pop(key)
        self._forwarder.close(key)
        self._litter = self._litter or entry.relayed

    def _ensure(self, key: Key, mapping: PortMapping, mine: Backing) -> bool:
        entry = self._open.get(key)
        if entry is not None and entry.mapping != mapping:
            self._close(key)
            entry = None
        if entry is None:
            try:
                entry = self._listen(key, mapping)
            except OblakoError as error:
                log.warning("port %d of %s: %s", key[1], key[0], error)
                return False
        seen = (mine.container_id, mine.address)
        fresh = entry.seen == seen and entry.target is not None
        if fresh and not (entry.relayed and time.monotonic() - entry.looked > _SOON):
            return True
        if mine.written != "running" or not mine.container_id:
            self._forwarder.lead(key, None)
            entry.target = None
            return True  # it is on its way, and tells when it is there
        try:
            self._lead(key, entry, seen)
        except OblakoError as error:
            log.warning("port %d of %s: %s", key[1], key[0], error)
            return False
        return entry.target is not None

    def _listen(self, key: Key, mapping: PortMapping) -> _Open:
        """Listen on the host port that the instance has; where somebody else has taken it, on another one."""
        try:
            self._forwarder.open(key, mapping.host, mapping.host_port, None)
        except PortTaken:
            mapping = self._another(key, mapping)
        entry = self._open[key] = _Open(mapping)
        return entry

    def _another(self, key: Key, mapping: PortMapping) -> PortMapping:
        moved = self._choose(key, replace(mapping, host_port=0), None)
        text = f"{mapping.host}:{mapping.host_port} {MOVED}: port {key[1]} is at {moved.url} now"
        log.warning("%s: %s", key[0], text)
        with self._lock:
            instance = self._intent.get(key[0])
            ports = backing(instance).live if instance is not None else ()
            self._intent.set_live(
                key[0], tuple(moved if port.container_port == key[1] else port for port in ports), note=text
            )
        publish.release([mapping])
        return moved

    def _choose(self, key: Key, mapping: PortMapping, target: Target | None) -> PortMapping:
        """Choose the host port and listen on it; one that is taken at that very moment is followed by another."""
        for last in (*[False] * (_TRIES - 1), True):
            with self._lock:
                taken = self._intent.taken_ports()
            (chosen,) = publish.choose(
                [mapping],
                host=self._settings.publish_host,
                between=self._settings.publish_ports,
                taken=taken,
                begin=self._intent.first_port,
            )
            try:
                self._forwarder.open(key, chosen.host, chosen.host_port, target)
            except OblakoError as error:
                publish.release([chosen])
                if mapping.host_port or last or not isinstance(error, PortTaken):
                    raise
            else:
                return chosen
        raise AssertionError("unreachable")

    def _lead(self, key: Key, entry: _Open, seen: tuple[str, str]) -> None:
        """Find out where the container is, and lead the listener there."""
        target, relayed = self._reach(key)
        entry.looked, entry.relayed = time.monotonic(), relayed
        if target != entry.target or seen != entry.seen:
            self._forwarder.lead(key, target)
            log.info("port %d of %s: %s leads to %s", key[1], key[0], entry.mapping.url, target)
        entry.seen, entry.target = seen, target

    def _reach(self, key: Key) -> tuple[Target | None, bool]:
        engine = self._engine()
        place = dial.locate(engine, key[0])
        if place is None:
            return None, False
        via = self._settings.publish_via
        if via == "direct" or (via == "auto" and place.here):
            return (place.address, key[1]), False
        self._litter = True  # until it leads somewhere it may be in the way
        return relay.ensure(engine, key[0], key[1], place, self._control_plane, self._settings.pull_timeout), True

    def _sweep(self) -> bool:
        if not self._litter:
            return True
        keep = {key for key, entry in self._open.items() if entry.relayed}
        try:
            relay.sweep(self._engine(), self._control_plane, keep=keep)
        except EngineError:
            return False
        self._litter = False
        return True

    # -- the calls of the own API -------------------------------------------------------------------

    def publish(self, instance_id: str, port: int, host_port: int = 0) -> PortMapping:
        """Publish a port of an instance and keep it published; saved when this returns.

        Parameters
        ----------
        instance_id : str
        port : int
            TCP port that the instance listens on, now or later.
        host_port : int
            TCP port on the host; 0 chooses one.

        Returns
        -------
        PortMapping
            The one that there is already, where it is as asked for.

        Raises
        ------
        NotFound, PortTaken, OblakoError
        """
        if not 1 <= port <= 65535 or not 0 <= host_port <= 65535:
            raise OblakoError(
                f"{port if not 1 <= port <= 65535 else host_port} is not a port; they go from 1 to 65535."
            )
        with self._turn:
            if self._closing.is_set():
                raise OblakoError("the control plane is going down; start it again with: oblako up")
            mine = self._of(instance_id)
            there = _find((*mine.ports, *mine.live), port)
            if there is not None:
                if host_port not in (0, there.host_port):
                    again = "unpublish it first" if there.live else HELD
                    raise OblakoError(f"port {port} of {instance_id} is published at {there.url} already; {again}.")
                return there
            key, target, relayed = (instance_id, port), None, False
            if mine.written == "running":
                target, relayed = self._reach(key)
            mapping = self._choose(key, PortMapping(port, host_port, live=True), target)
            self._open[key] = _Open(mapping, (mine.container_id, mine.address), target, relayed, time.monotonic())
            try:
                with self._lock:
                    now = self._of(instance_id)  # it may have ended meanwhile
                    version = self._intent.set_live(instance_id, (*now.live, mapping))
                self._store.commit(version)
            except OblakoError:
                self._forget(instance_id, mapping)
                raise
            self.apply()
            return mapping

    def _forget(self, instance_id: str, mapping: PortMapping) -> None:
        with self._lock:
            instance = self._intent.get(instance_id)
            if instance is not None:
                left = tuple(port for port in backing(instance).live if port != mapping)
                self._intent.set_live(instance_id, left)
        publish.release([mapping])
        self.apply()

    def unpublish(self, instance_id: str, port: int) -> None:
        """Publish a port no more and cut its connections; saved when this returns. One that is not published is fine.

        Raises
        ------
        NotFound
            Where there is no such instance.
        OblakoError
            Where the engine holds the port.
        """
        with self._turn:
            with self._lock:
                mine = self._of(instance_id, ended=True)
                if _find(mine.ports, port) is not None:
                    raise OblakoError(f"port {port} of {instance_id} was published at its launch; {HELD}.")
                before, mapping = mine.live, _find(mine.live, port)
                if mapping is None:
                    return
                note = "" if MOVED in mine.note else None
                version = self._intent.set_live(instance_id, tuple(p for p in before if p != mapping), note)
            try:
                self._store.commit(version)
            except StateError:
                self._intent.set_live(instance_id, before)
                raise
            publish.release([mapping])
            self.apply()

    def _of(self, instance_id: str, *, ended: bool = False) -> Backing:
        instance = self._intent.get(instance_id)
        if instance is None:
            raise NotFound(f"there is no instance {instance_id}; %ec2 ls shows what there is.")
        mine = backing(instance)
        if ended:
            return mine
        if mine.want == "terminated":
            raise OblakoError(f"{instance_id} is {instance.state}: it has no ports to publish any more.")
        if not mine.backed:
            raise OblakoError(f"{instance_id} is simulated: it has no container to publish a port of.")
        return mine


def _find(ports: tuple[PortMapping, ...], port: int) -> PortMapping | None:
    return next((mapping for mapping in ports if mapping.container_port == port), None)
