"""Moto's state as the loop's source: read what should be, write back what is.

The one rule that finds every road into moto: a state in moto's record that we did not write is a wish of
some client - whichever API, service or stack brought it there.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from moto.ec2.models.instances import InstanceState, StateReason

from .. import names
from ..engine import publish
from ..errors import PortTaken
from ..guest import user_data
from ..model import STATE_CODES, Backing, PortMapping, Reason, StateName, Wanted, parse_publish
from ..reconcile.plan import Desired
from ..reconcile.source import Observation
from ..settings import Settings
from . import groups, notebooks, specs, stacks
from .events import ENGINE, ITSELF, STACK_TAG, Journal
from .records import all_instances, forget_terminated, tags_of
from .rows import view
from .semantics import backing
from .store import Store

log = logging.getLogger(__name__)

_TRANSITION: dict[str, StateName] = {"running": "pending", "stopped": "stopping", "terminated": "shutting-down"}
_WANTS: dict[str, Wanted] = {
    "running": "running",
    "pending": "running",
    "stopped": "stopped",
    "stopping": "stopped",
    "terminated": "terminated",
}


def boot_id() -> str:
    """The host's boot, where the system tells it: after another one no container can have been left running."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _moves(instance: Any) -> bool:
    """Whether the loop has yet to bring the instance to where a client wants it."""
    mine = backing(instance)
    if mine.written in _TRANSITION.values():
        return True
    return mine.backed and mine.written == "running" and mine.reboots > mine.reboots_done


class Intent:
    """The loop's source (``reconcile.loop.Source``) over moto's EC2 backends.

    Parameters
    ----------
    settings : Settings
    lock : threading.RLock
        Moto's; every method takes it.
    store : Store
    control_plane : str
        The id that goes on labels.
    engine_expected : callable
        Whether there is, or may soon be, an engine: without one new instances are simulated.
    """

    def __init__(
        self, settings: Settings, lock: Any, store: Store, control_plane: str, engine_expected: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._store = store
        self._control_plane = control_plane
        self.first_port = zlib.crc32(control_plane.encode())
        self._engine_expected = engine_expected
        self._instances: dict[str, Any] = {}
        self._unsaved: dict[str, int] = {}
        self._boot = boot_id()
        self.journal = Journal()
        self.revision = self._scanned = 0
        self.wake: Callable[[Iterable[str]], None] = lambda instance_ids: None
        """Tells the loop to look at instances; set once there is a loop."""
        self._closed = False
        self._mender: threading.Timer | None = None
        self._changed = threading.Condition()

    # -- change feed --------------------------------------------------------------------------------

    def _bump(self) -> None:
        with self._changed:
            self.revision += 1
            self._changed.notify_all()

    def touched(self) -> None:
        """A client has written: also what is no state, such as a tag, is news for who waits for a change."""
        if self.revision == self._scanned:
            self._bump()
        self._scanned = self.revision

    def bump(self) -> None:
        """Tell those who wait that something has changed which is not an instance's."""
        self._bump()

    def wait(self, revision: int, timeout: float) -> int:
        """Return when something has changed since ``revision``, or after ``timeout`` seconds; the revision now."""
        with self._changed:
            self._changed.wait_for(lambda: self.revision > revision or self._closed, timeout)
            return self.revision

    def close(self) -> None:
        """Let everybody go who waits for a change."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.journal.close()

    # -- moto -> loop -------------------------------------------------------------------------------

    def scan(self) -> list[str]:
        """Find what clients have changed; call with moto's lock held, after each write.

        Returns
        -------
        list of str
            The ids of the instances to look at.
        """
        changed: list[str] = []
        found: dict[str, Any] = {}
        self._scanned = self.revision
        forget_terminated(self._settings.terminated_visible)
        for instance in all_instances(forgotten=True):
            found[instance.id] = instance
            mine = backing(instance)
            if instance.id not in self._instances and not mine.written:
                mine.written = "pending" if instance.state == "running" else instance.state
                self._adopt_new(instance, mine)
            elif mine.written == "pending" and instance.id not in self._instances and not mine.started:
                self._adopt_new(instance, mine)
            if instance.state != mine.written:
                self._wish(instance, mine)
                changed.append(instance.id)
            elif (
                instance.id not in self._instances or mine.reboots > mine.reboots_done or mine.generation > mine.started
            ) or (
                mine.root_kept
                and mine.written == "terminated"
                and mine.root_volume_id not in instance.ec2_backend.volumes
            ):
                changed.append(instance.id)
        self._instances = found
        if notebooks.tidy():
            self._bump()
        return changed

    def tell(self) -> bool:
        """Put what is new into the log of events; call with moto's lock held, after ``scan``."""
        return self.journal.scan(self._instances.values())

    def mend(self) -> bool:
        """Have Auto Scaling groups look after their members; call with moto's lock held.

        Returns
        -------
        bool
            Whether records were changed.
        """
        changed, later = groups.mend()
        if self._mender:  # the next look is when the first of all groups wants it
            self._mender.cancel()
            self._mender = None
        if later is not None:
            self._mender = threading.Timer(max(later, 0.1), self._mend_later)
            self._mender.daemon = True
            self._mender.start()
        return changed

    def _mend_later(self) -> None:
        with self._lock:
            if not self._closed:
                self._mend_now()

    def _mend_now(self) -> None:
        if self.mend():
            self.hold(self.scan(), self._store.touch_later())
            self.journal.scan(self._instances.values(), "Auto Scaling")

    def hold(self, instance_ids: Iterable[str], version: int) -> None:
        """Nothing is done for these instances before the state of this version is on disk (promise 1)."""
        self._unsaved.update(dict.fromkeys(instance_ids, version))

    def _held(self, instance_id: str) -> bool:
        version = self._unsaved.get(instance_id)
        if version is None:
            return False
        if self._store.saved(version):
            del self._unsaved[instance_id]
            return False
        return True  # whoever saves it wakes the loop then

    def flushed(self) -> None:
        """Changes that no request waits for are on disk: now they may be followed."""
        with self._lock:
            due = [instance_id for instance_id in list(self._unsaved) if not self._held(instance_id)]
        if due:
            self.wake(due)

    def restored(self) -> None:
        """Moto's state was taken back to what is on disk; call with its lock held.

        What the loop has seen since is true all the same: it is kept where it followed a wish that stands.
        """
        seen, self._instances = self._instances, {}
        self._unsaved.clear()
        for instance in all_instances(forgotten=True):
            old, mine = seen.get(instance.id), backing(instance)
            if old is None:
                continue
            was = backing(old)
            if (was.want, was.generation, was.reboots) == (mine.want, mine.generation, mine.reboots):
                instance.oblako = was
                instance._state, instance.state_reason = old._state, old.state_reason
                instance._reason = old._reason
        self._bump()
        self.wake(self.scan())
        self.journal.scan(self._instances.values(), taken_back=True)

    def _adopt_new(self, instance: Any, mine: Backing) -> None:
        """What can only be known once the request is through: tags may come last (CloudFormation)."""
        tags = tags_of(instance)
        data = user_data.decode(instance.user_data)
        mine.backed = tags.get(names.TAG_BACKED, "").lower() != "false" and self._engine_expected()
        if data:
            mine.user_data = "waiting" if user_data.is_script(data) else "not run (only scripts that begin with #! are)"
        if not mine.backed:
            mine.user_data = "not run (simulated)" if data else ""

    def _wish(self, instance: Any, mine: Backing) -> None:
        want = _WANTS.get(instance.state, mine.want)
        if want == "running" and (mine.want != "running" or mine.written == "stopped"):
            mine.generation += 1
        mine.want = want
        if mine.backed:
            self._write(instance, mine, _TRANSITION[want])
        else:
            if want == "running":
                mine.started, mine.reboots_done = mine.generation, mine.reboots
            self._write(instance, mine, want)

    def _write(self, instance: Any, mine: Backing, state: str) -> None:
        if instance.state != state or mine.written != state:
            instance._state = InstanceState(state, STATE_CODES[state])
            mine.written = state
            self._bump()

    def instance_ids(self) -> Iterable[str]:
        """All that may have a container."""
        with self._lock:
            # The loop asks now and then, also where no client writes.
            if forget_terminated(self._settings.terminated_visible):
                self._bump()
                self._store.touch_later()
            return [
                key
                for key, instance in self._instances.items()
                if backing(instance).backed
                and (backing(instance).written != "terminated" or backing(instance).unchecked)
            ]

    def settle(self, timeout: float) -> None:
        """Return when no instance is on its way to another state, or after ``timeout`` seconds; not under the lock."""
        end = time.monotonic() + timeout
        while not self._closed:
            revision = self.revision
            with self._lock:
                moving = any(_moves(instance) for instance in self._instances.values()) or notebooks.moving()
            left = end - time.monotonic()
            if not moving or left <= 0:
                return
            self.wait(revision, left)

    def get(self, instance_id: str) -> Any | None:
        """Moto's record of an instance."""
        return self._instances.get(instance_id)

    def desired(self, instance_id: str) -> Desired | None:
        """What should be."""
        with self._lock:
            instance = self._instances.get(instance_id)
            if instance is None or self._held(instance_id):
                return None
            mine = backing(instance)
            volume_gone = mine.root_volume_id not in instance.ec2_backend.volumes
            if not mine.backed or (
                mine.written == "terminated" and not mine.unchecked and not (mine.root_kept and volume_gone)
            ):
                if not mine.backed:
                    self._settle_simulated(instance, mine)
                return None
            return Desired(
                spec=specs.spec_of(instance, self._instances, self._settings, self._control_plane),
                want=mine.want,
                generation=mine.generation,
                started=mine.started,
                reboots=mine.reboots,
                reboots_done=mine.reboots_done,
                on_shutdown="terminate" if instance.instance_initiated_shutdown_behavior == "terminate" else "stop",
                same_boot=not mine.boot_id or not self._boot or mine.boot_id == self._boot,
                engine_run=mine.engine_run,
                user_data_waits=mine.user_data == "waiting",
                remove_root_volume=volume_gone,
                explicit_image=specs.image_of(instance, self._instances, self._settings)[1],
            )

    def _settle_simulated(self, instance: Any, mine: Backing) -> None:
        if mine.written in ("pending", "stopping", "shutting-down"):
            mine.started = mine.generation
            self._write(instance, mine, mine.want)
            self._settled(instance)
            self._store.touch_later()

    def ports(self, instance_id: str, desired: Desired) -> Desired:
        """Choose the host ports of a launch and keep them."""
        with self._lock:
            instance = self._instances.get(instance_id)
            text = tags_of(instance).get(names.TAG_PUBLISH, "") if instance is not None else ""
            mine = backing(instance) if instance is not None else Backing()
            if not text or mine.ports:
                return replace(desired, spec=replace(desired.spec, ports=mine.ports))
            try:
                wanted = parse_publish(text)
            except ValueError as error:
                raise PortTaken(f"the tag {names.TAG_PUBLISH} can't be used: {error}") from error
            mine.ports = publish.choose(
                wanted,
                host=self._settings.publish_host,
                between=self._settings.publish_ports,
                taken=self.taken_ports(),
                begin=self.first_port,
            )
            self._store.touch_later()
            return replace(desired, spec=replace(desired.spec, ports=mine.ports))

    def other_ports(self, instance_id: str) -> bool:
        """Give up the host ports of a launch that the engine refuses; False where the user named any."""
        with self._lock:
            instance = self._instances.get(instance_id)
            if instance is None or not backing(instance).ports:
                return False
            try:
                wanted = parse_publish(tags_of(instance).get(names.TAG_PUBLISH, ""))
            except ValueError:  # changed since
                return False
            if any(mapping.host_port for mapping in wanted):
                return False
            # They are not released: who refused them would refuse them again.
            backing(instance).ports = ()
            self._store.touch_later()
            return True

    def taken_ports(self) -> set[int]:
        """The host ports that instances own, whether they run or not; call with moto's lock held."""
        everything = (backing(instance) for instance in self._instances.values())
        return {port.host_port for mine in everything for port in (*mine.ports, *mine.live)}

    def live(self) -> list[tuple[str, Backing]]:
        """The instances that are to run and have ports that the control plane carries."""
        with self._lock:
            found = ((key, backing(instance)) for key, instance in self._instances.items())
            return [
                (key, replace(mine))
                for key, mine in found
                if mine.live and mine.backed and mine.want == "running" and mine.written in ("pending", "running")
            ]

    def set_live(self, instance_id: str, ports: tuple[PortMapping, ...], note: str | None = None) -> int:
        """Take note of the ports that the control plane carries; the version to commit."""
        with self._lock:
            instance = self._instances.get(instance_id)
            if instance is not None:
                mine = backing(instance)
                mine.live = ports
                mine.note = mine.note if note is None else note
                self._bump()
            return self._store.touch_later()

    # -- loop -> moto -------------------------------------------------------------------------------

    def report(self, instance_id: str, seen: Observation) -> None:
        """Take note of what the loop has seen."""
        with self._lock:
            instance = self._instances.get(instance_id)
            if instance is None:
                return
            mine = backing(instance)
            before, shown = (instance.state, replace(mine)), view(instance)
            stale = seen.basis is not None and (seen.basis.want, seen.basis.generation) != (mine.want, mine.generation)
            self._note(mine, seen)
            if not stale:
                if seen.want is not None and seen.want != mine.want:
                    self._changed_wish(instance, mine, seen)
                if seen.state is not None:
                    self._write(instance, mine, seen.state)
                if seen.reason is not None:
                    self._reason(instance, seen.reason)
            if (
                seen.looked
                and instance.state == "terminated"
                and mine.root_volume_id not in instance.ec2_backend.volumes
            ):
                mine.root_kept = False  # DeleteVolume came after it, and has been followed
            state_changed = before[0] != instance.state
            if state_changed:
                self._on_state(instance, mine, before[0], seen)
            who = ""
            if not stale and seen.want is not None:
                # A launch or a start that can't be had says that it was tried; what ended by itself does not.
                who = ITSELF if seen.started is None else ENGINE
            self.journal.look(instance, who)
            if seen.impaired and seen.impaired == seen.progress:
                self.journal.engine(problem=seen.impaired)
            if state_changed and instance.state in ("stopped", "terminated"):
                self._mend_now()
            if view(instance) != shown:
                self._bump()
            if state_changed or before[1] != mine:
                self._store.touch_later()

    def _note(self, mine: Backing, seen: Observation) -> None:
        for name in ("impaired", "progress", "note", "started", "reboots_done", "engine_run", "user_data", "unchecked"):
            value = getattr(seen, name)
            if value is not None and not (mine.written == "terminated" and name in ("impaired", "progress")):
                setattr(mine, name, value)
        if seen.engine_run is not None:
            mine.boot_id = self._boot
        if seen.looked:
            mine.unchecked = False
            there = seen.container
            mine.container_id = there.container_id if there else ""
            mine.address = there.address if there else ""
            if there:
                mine.image = there.image

    def _changed_wish(self, instance: Any, mine: Backing, seen: Observation) -> None:
        """The instance ended by itself, or can't be launched: moto does its own bookkeeping for it."""
        assert seen.want is not None
        mine.want = seen.want
        if seen.want == "terminated":
            instance.terminate()
            self._write(instance, mine, "shutting-down")
        elif seen.want == "stopped":
            instance.stop()
            self._write(instance, mine, "stopping")

    def _reason(self, instance: Any, reason: Reason) -> None:
        instance.state_reason = StateReason(
            f"{reason.code}: {reason.message}" if reason.code else reason.message, reason.code
        )
        instance._reason = reason.message

    def _on_state(self, instance: Any, mine: Backing, before: str, seen: Observation) -> None:
        log.info(
            "%s: %s -> %s%s", instance.id, before, instance.state, f" ({seen.reason.message})" if seen.reason else ""
        )
        if instance.state == "terminated":
            publish.release((*mine.ports, *mine.live))
            mine.ports, mine.live, mine.impaired = (), (), ""
            notebooks.tidy()
        if before == "pending":
            failed = instance.state in ("shutting-down", "terminated") and seen.reason is not None
            self._settled(instance, seen.reason.message if failed and seen.reason else "")

    def _settled(self, instance: Any, failure: str = "") -> None:
        """Tell the instance's stack; what that has changed is a wish like a client's."""
        if stacks.settled(instance, failure):
            self.hold(self.scan(), self._store.touch_later())
            self.journal.scan(self._instances.values(), f"CloudFormation stack {tags_of(instance).get(STACK_TAG)}")
