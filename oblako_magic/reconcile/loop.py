"""The loop: observe, plan, apply, for one instance at a time and many instances at once.

It knows neither moto nor AWS: a ``Source`` tells what should be and is told what is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from .. import names
from ..engine import Engine, containers, images, volumes
from ..engine import events as engine_events
from ..errors import EngineError, EngineUnavailable, HalfStarted, ImageError, NotFound, OblakoError, PortTaken
from ..model import ContainerState, Reason, StateName
from . import plan as planning
from .plan import Desired
from .source import Observation, Source

log = logging.getLogger(__name__)

_TRIES = 5
"""Attempts at what can pass, at least, before a start counts as failed."""
_LONGEST_PAUSE = 3.0
"""Seconds between two attempts, at most."""
_STEPS = 6
"""Rounds of observe, plan, apply in one go; a table that needs more would be wrong."""
_ECHOES = {"start", "restart", "kill", "stop"}
_SECOND_LOOK = 0.15
"""Seconds between the end of a container and the belief that nobody removes it."""


class Loop:
    """Runs until ``stop``.

    Parameters
    ----------
    source : Source
    connect : callable
        Connects to an engine or raises ``EngineUnavailable``.
    run_user_data : callable
        ``run_user_data(engine, instance_id)``: start the user data script.
    before_start : callable
        ``before_start(engine, instance_id)``: put into the container, which is made and does not run, what it is to
        find when it starts; called before every start and reboot.
    workers, resync : int
        Instances at once; seconds between looks at everything.
    pull_timeout : float
    patience : float
        Seconds that a launch waits for an engine that is down, and a start for what can pass.
    """

    def __init__(
        self,
        source: Source,
        connect: Callable[[], Engine],
        *,
        run_user_data: Callable[[Engine, str], None],
        before_start: Callable[[Engine, str], None] = lambda engine, instance_id: None,
        workers: int = 16,
        resync: float = 30,
        pull_timeout: float = 900,
        patience: float = 30,
    ) -> None:
        self._source = source
        self._connect = connect
        self._run_user_data = run_user_data
        self._before_start = before_start
        self._resync = resync
        self._patience = patience
        self._resolver = images.Resolver(pull_timeout)
        self._wake = threading.Condition()
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._later: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._down_since: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}
        self._seen_on: dict[str, Engine] = {}
        self._own_starts: set[str] = set()
        self._stopping = False
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self._engine_error = ""
        self._retry_engine_at = 0.0
        self._stream: Any = None
        self.on_engine: Callable[[Engine], None] = lambda engine: None
        self._threads = [
            threading.Thread(target=self._work, name=f"reconcile-{n}", daemon=True) for n in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._watch, name="engine-events", daemon=True))
        self._threads.append(threading.Thread(target=self._clock, name="reconcile-timer", daemon=True))

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; what is under way in the engine is finished first, for at most 15 seconds."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        stream = self._stream
        if stream is not None:
            try:
                stream.close()
            except Exception:
                log.debug("closing the event stream", exc_info=True)
        end = time.monotonic() + 15
        for thread in self._threads:
            if thread.name.startswith("reconcile-"):
                thread.join(max(0.0, end - time.monotonic()))

    # -- the engine ---------------------------------------------------------------------------------

    def engine(self) -> Engine:
        """The connected engine.

        Raises
        ------
        EngineUnavailable
        """
        with self._engine_lock:
            if self._engine is not None:
                return self._engine
            if time.monotonic() < self._retry_engine_at:
                raise EngineUnavailable(self._engine_error)
            try:
                self._engine = self._connect()
            except EngineUnavailable as error:
                self._engine_error = str(error)
                self._retry_engine_at = time.monotonic() + 0.5
                raise
            self._engine_error = ""
        self.on_engine(self._engine)
        return self._engine

    @property
    def connected(self) -> bool:
        """Whether there is a connection now; asks nobody."""
        return self._engine is not None

    @property
    def engine_error(self) -> str:
        """Why there is no engine now; empty when there is one or nobody has looked yet."""
        return self._engine_error

    def lose_engine(self, engine: Engine, error: EngineError) -> None:
        """Forget a connection that does not answer any more."""
        with self._engine_lock:
            if self._engine is engine:
                self._engine = None
                self._engine_error = str(error)
                self._retry_engine_at = 0.0

    # -- the queue ----------------------------------------------------------------------------------

    def wake(self, instance_ids: Iterable[str] | None = None) -> None:
        """Say *look again*, at these instances or at all."""
        chosen = list(self._source.instance_ids() if instance_ids is None else instance_ids)
        with self._wake:
            for instance_id in chosen:
                self._later.pop(instance_id, None)
                self._add(instance_id)
            self._wake.notify_all()

    def _add(self, instance_id: str) -> None:
        if instance_id in self._busy:
            self._again.add(instance_id)
        elif instance_id not in self._queued:
            self._queued.add(instance_id)
            self._queue.append(instance_id)

    def _after(self, instance_id: str, seconds: float) -> None:
        with self._wake:
            self._later[instance_id] = time.monotonic() + seconds
            self._wake.notify_all()

    def idle(self) -> bool:
        """Whether nothing is queued or under way."""
        with self._wake:
            return not (self._queue or self._busy or self._later)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    return
                instance_id = self._queue.popleft()
                self._queued.discard(instance_id)
                self._busy.add(instance_id)
            try:
                self.reconcile(instance_id)
            except Exception:
                log.exception("reconcile %s", instance_id)
                self._after(instance_id, 5)
            finally:
                with self._wake:
                    self._busy.discard(instance_id)
                    if instance_id in self._again:
                        self._again.discard(instance_id)
                        self._add(instance_id)
                        self._wake.notify()

    def _clock(self) -> None:
        """Move what is due from later to now; look at everything now and then."""
        look = time.monotonic() + self._resync
        while True:
            with self._wake:
                if self._stopping:
                    return
                now = time.monotonic()
                for instance_id in [key for key, due in self._later.items() if due <= now]:
                    del self._later[instance_id]
                    self._add(instance_id)
                    self._wake.notify()
                due = min([look, *self._later.values()])
                if due > now:
                    self._wake.wait(min(due - now, 1.0))
            if time.monotonic() >= look:
                look = time.monotonic() + self._resync
                self.wake()

    def _echo(self, instance_id: str, action: str) -> bool:
        """Whether an event is our own doing, which the loop has looked at or is about to."""
        if action == "start" and instance_id in self._own_starts:
            self._own_starts.discard(instance_id)
            return True
        return action in _ECHOES and instance_id in self._busy

    def _ending(self) -> bool:
        return self._stopping

    def _watch(self) -> None:
        """Follow the engine's events; when the stream breaks, connect again and look at everything."""
        first = True
        while not self._ending():
            engine: Engine | None = None
            try:
                engine = self.engine()

                def on_open(stream: Any) -> None:
                    self._stream = stream
                    self._own_starts.clear()
                    # What happened while nobody listened is not told again.
                    self.wake()

                for instance_id, action in engine_events.watch(engine, on_open):
                    if not self._echo(instance_id, action):
                        self.wake([instance_id])
                raise EngineUnavailable("the container engine has gone away; start it again.")
            except OblakoError as error:
                if self._ending():
                    return
                if engine is not None:
                    self.lose_engine(engine, EngineUnavailable(str(error)))
                if first or engine is not None:
                    log.warning("engine: %s", error)
                    self.wake()
                first = False
            except Exception:
                log.exception("engine events")
            with self._wake:
                if not self._stopping:
                    self._wake.wait(0.5)

    # -- one instance -------------------------------------------------------------------------------

    def reconcile(self, instance_id: str) -> None:
        """Bring one instance to what it should be.

        The identity is all that it is given: what happened, and why, it reads from both sides.
        """
        for _ in range(_STEPS):
            desired = self._source.desired(instance_id)
            if desired is None:
                return
            engine: Engine | None = None
            try:
                engine = self.engine()
                desired = replace(
                    desired,
                    seen_running=self._seen_on.get(instance_id) is engine,
                    same_boot=desired.same_boot and (not desired.engine_run or desired.engine_run == engine.run),
                )
                # A first launch has nothing to look at. Where there is something after all, making it finds out.
                first = desired.want == "running" and desired.started == 0 and instance_id not in self._tries
                actual = None if first else containers.find(engine, instance_id)
                decision = planning.plan(desired, actual)
                if decision.want is not None:
                    # Ended by itself - or on its way out by `docker rm -f`, which kills first: look twice. Or the
                    # engine is going down and takes it along.
                    time.sleep(_SECOND_LOOK)
                    engine.confirm()
                    actual = containers.find(engine, instance_id)
                    decision = planning.plan(desired, actual)
                if not decision.actions:
                    self._settle(engine, instance_id, desired, actual, decision)
                    return
                self._apply(engine, instance_id, desired, decision)
                if decision.want is None and decision.state in ("terminated", "stopped"):
                    # What was removed or stopped needs no second look at the engine.
                    after = None if decision.state == "terminated" else containers.find(engine, instance_id)
                    self._settle(engine, instance_id, desired, after, planning.Plan(decision.state))
                    return
            except EngineUnavailable as error:
                self._engine_down(instance_id, desired, engine, error)
                return
            except EngineError as error:
                if engine is None or not self._made_anew(engine, instance_id, desired, error):
                    self._failed(instance_id, desired, error)
                return

    def _settle(
        self, engine: Engine, instance_id: str, desired: Desired, actual: ContainerState | None, decision: planning.Plan
    ) -> None:
        self._forget(instance_id)
        if decision.state == "terminated":
            self._seen_on.pop(instance_id, None)
        running = actual is not None and actual.running
        if running:
            self._seen_on[instance_id] = engine
        self._source.report(
            instance_id,
            Observation(
                state=decision.state,
                container=actual,
                want=decision.want,
                reason=decision.reason,
                impaired=decision.impaired,
                progress="",
                started=desired.generation if running and desired.want == "running" else None,
                engine_run=engine.run if running else None,
                looked=True,
                basis=desired,
            ),
        )

    def _forget(self, instance_id: str) -> None:
        """What failed before is over."""
        for memory in (self._tries, self._down_since, self._failing_since):
            memory.pop(instance_id, None)

    def _apply(self, engine: Engine, instance_id: str, desired: Desired, decision: planning.Plan) -> None:
        if decision.want is not None:
            self._source.report(
                instance_id,
                Observation(state=decision.state, want=decision.want, reason=decision.reason, basis=desired),
            )
        for action in decision.actions:
            if isinstance(action, planning.CreateContainer):
                self._create(engine, instance_id, desired)
            elif isinstance(action, planning.StartContainer):
                if not desired.may_start:
                    log.info("%s: it ended with the engine or the host, and is started again", instance_id)
                if desired.started:
                    self._set_limits(engine, desired)
                self._start(engine, instance_id, desired)
            elif isinstance(action, planning.StopContainer):
                containers.stop(engine, instance_id)
            elif isinstance(action, planning.RestartContainer):
                self._set_limits(engine, desired)
                self._before_start(engine, instance_id)
                containers.restart(engine, instance_id)
                self._source.report(instance_id, Observation(reboots_done=desired.reboots, started=desired.generation))
            elif isinstance(action, planning.RemoveContainer):
                containers.stop(engine, instance_id, grace=3)
                containers.remove(engine, instance_id)
            elif isinstance(action, planning.RemoveRootVolume):
                volumes.remove(engine, names.root_volume_name(instance_id))
            else:
                self._run_user_data(engine, instance_id)

    def _create(self, engine: Engine, instance_id: str, desired: Desired) -> None:
        name = desired.spec.image

        def progress(line: str) -> None:
            self._source.report(instance_id, Observation(progress=line))

        image, note = self._resolver.resolve(engine, name, fallback=not desired.explicit_image, on_progress=progress)
        if note:
            log.warning("%s: %s", instance_id, note)
            self._source.report(instance_id, Observation(note=note, progress=""))
        desired = self._source.ports(instance_id, desired)
        try:
            containers.create(engine, desired.spec, image)
        except ImageError:
            # It was removed since it was looked up: look again, once.
            self._resolver.forget(engine, name)
            image, _ = self._resolver.resolve(engine, name, fallback=not desired.explicit_image, on_progress=progress)
            containers.create(engine, desired.spec, image)

    def _set_limits(self, engine: Engine, desired: Desired) -> None:
        """A start or a reboot is when a changed instance type takes effect."""
        if not containers.set_limits(engine, desired.spec):
            note = "this engine can't change the limits of a container: those of its first instance type stay"
            log.warning("%s: %s", desired.spec.instance_id, note)
            self._source.report(desired.spec.instance_id, Observation(note=note))

    def _start(self, engine: Engine, instance_id: str, desired: Desired) -> None:
        self._before_start(engine, instance_id)
        self._own_starts.add(instance_id)
        try:
            containers.start(engine, instance_id)
        except EngineError:
            self._own_starts.discard(instance_id)
            raise
        self._seen_on[instance_id] = engine
        # Said at once, so that a container that ends within a blink is not started again and again.
        self._source.report(instance_id, Observation(started=desired.generation, engine_run=engine.run))

    def _engine_down(self, instance_id: str, desired: Desired, engine: Engine | None, error: EngineUnavailable) -> None:
        if engine is not None:
            self.lose_engine(engine, error)
        since = self._down_since.setdefault(instance_id, time.monotonic())
        waited = time.monotonic() - since
        if desired.want == "running" and desired.started == 0 and waited > self._patience:
            # Nobody can tell whether it has left something there; that is looked at when an engine answers again.
            self._give_up(instance_id, desired, error, unchecked=True)
            return
        self._source.report(instance_id, Observation(impaired=str(error), progress=str(error)))
        self._after(instance_id, min(0.5 + waited / 4, _LONGEST_PAUSE))

    def _made_anew(self, engine: Engine, instance_id: str, desired: Desired, error: EngineError) -> bool:
        """Whether another container takes the place of one that can't start: nothing is in that of a first launch."""
        tries = self._tries.get(instance_id, 0) + 1
        if desired.want != "running" or desired.started or tries >= _TRIES:
            return False
        if not isinstance(error, HalfStarted) and not (
            isinstance(error, PortTaken) and self._source.other_ports(instance_id)
        ):
            return False
        try:
            containers.remove(engine, instance_id)
        except EngineError:
            log.warning("%s: what is left of its start can't be removed", instance_id, exc_info=True)
            return False
        log.warning("%s: %s (another container is made)", instance_id, error)
        self._tries[instance_id] = tries
        self._after(instance_id, 0)
        return True

    def _failed(self, instance_id: str, desired: Desired, error: EngineError) -> None:
        tries = self._tries.get(instance_id, 0) + 1
        self._tries[instance_id] = tries
        since = self._failing_since.setdefault(instance_id, time.monotonic())
        soon = tries < _TRIES or time.monotonic() - since < self._patience
        passing = (error.transient and soon) or (isinstance(error, NotFound) and tries == 1)
        # What was started is only looked at, or brought back: an engine that takes its time does not stop it.
        looking = error.transient and not desired.may_start
        if passing or looking or desired.want != "running":
            if looking:
                self._source.report(instance_id, Observation(impaired=str(error)))
            log.warning("%s: %s (attempt %d)", instance_id, error, tries)
            self._after(instance_id, min(0.2 * 2 ** min(tries, 8), _LONGEST_PAUSE))
            return
        log.error("%s: %s", instance_id, error)
        self._give_up(instance_id, desired, error)

    def _give_up(self, instance_id: str, desired: Desired, error: EngineError, *, unchecked: bool = False) -> None:
        """A launch that can't work ends terminated, a start that can't work ends stopped; both say why."""
        self._forget(instance_id)
        client = isinstance(error, (ImageError, PortTaken))
        reason = Reason("Client.InternalError" if client else "Server.InternalError", str(error))
        first = desired.started == 0
        state: StateName = "stopped"
        if first:
            state = "terminated" if unchecked else "shutting-down"
        self._source.report(
            instance_id,
            Observation(
                state=state,
                want="terminated" if first else "stopped",
                reason=reason,
                progress="",
                impaired="",
                started=desired.generation,
                unchecked=unchecked or None,
                basis=desired,
            ),
        )
        self.wake([instance_id])
