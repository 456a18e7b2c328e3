"""Looks whether the servers of notebook instances answer, why they ended, and when they are to stop.

A thread of its own: it asks servers by HTTP and reads what start scripts have left, never with moto's lock held.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from moto.logs.models import logs_backends

from .. import names
from ..engine import Engine, containers, streams
from ..errors import EngineError, OblakoError
from ..guest import notebook as guest
from ..settings import Settings
from . import notebook_stacks, notebook_view, notebooks
from .events import CONTROL_PLANE, ITSELF
from .intent import Intent
from .notebooks import extra
from .semantics import backing
from .store import Store

log = logging.getLogger(__name__)

_PAUSE = 0.02
"""Seconds between two questions to a server that does not answer yet, for each server that is waited for."""
_ANSWER = 600.0
"""Seconds that a server may take to answer once it has been started."""
_LOOK = 1.0
"""Seconds between two looks at what a start script is at. The engine takes a program of its own for each, which the
server's start would feel: one that is fast is not looked at."""
LOG_GROUP = "/aws/sagemaker/NotebookInstances"


class Watcher:
    """Follows the notebook instances of one control plane.

    Parameters
    ----------
    settings : Settings
    lock : threading.RLock
        Moto's.
    intent : Intent
    store : Store
    engine : callable
        The connected engine, or ``EngineUnavailable``.
    wake : callable
        Tells the loop to look at instances.
    """

    def __init__(
        self,
        settings: Settings,
        lock: Any,
        intent: Intent,
        store: Store,
        *,
        engine: Callable[[], Engine],
        wake: Callable[[list[str]], None],
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._intent = intent
        self._store = store
        self._engine = engine
        self._wake = wake
        self._closing = threading.Event()
        self._under_way: set[tuple[Any, ...]] = set()
        self._looked: dict[str, float] = {}
        self._thread = threading.Thread(target=self._follow, name="notebooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closing.set()

    def _follow(self) -> None:
        while not self._closing.is_set():
            revision = self._intent.revision
            try:
                self._look()
            except Exception:
                log.exception("notebook instances")
            self._intent.wait(revision, 1.0)

    def _look(self) -> None:
        work: list[tuple[Callable[..., None], Any, tuple[Any, ...]]] = []
        updated = False
        with self._lock:
            for notebook in notebooks.all_notebooks():
                mine = extra(notebook)
                if mine.updating:
                    mine.updating, updated = False, True
                if mine.restarting and mine.machine is not None and mine.machine.state in ("stopped", "running"):
                    work.append((self._again, notebook, ("again", *notebooks.start_of(mine.machine))))
                if mine.machine is None or not backing(mine.machine).backed:
                    continue
                if not mine.token:
                    work.append((self._recover, notebook, ("token", notebook.arn)))
                start = notebooks.start_of(mine.machine)
                status = notebooks.status(notebook)
                if mine.machine.state == "running" and status == "Pending":
                    work.append((self._await, notebook, start))
                elif notebooks.unexplained(notebook):
                    work.append((self._explain, notebook, ("why", *start)))
                elif status == "InService" and self._due(notebook):
                    work.append((self._rest, notebook, ("rest", *start)))
            for notebook in notebooks.all_notebooks() if updated else ():
                notebook_stacks.settled(notebook)
        if updated:
            self._changed(machines=True)
        for call, notebook, key in work:
            if key not in self._under_way:
                self._under_way.add(key)
                threading.Thread(
                    target=self._run, args=(call, notebook, key), name=f"notebook-{notebook.notebook_instance_name}",
                    daemon=True,
                ).start()  # fmt: skip

    def _run(self, call: Callable[..., None], notebook: Any, key: tuple[Any, ...]) -> None:
        try:
            call(notebook, key)
        except OblakoError as error:
            log.warning("%s: %s", notebook.notebook_instance_name, error)
            self._closing.wait(1)
        except Exception:
            log.exception("notebook instance %s", notebook.notebook_instance_name)
            self._closing.wait(5)
        finally:
            self._under_way.discard(key)

    def _changed(self, *, machines: bool = False) -> None:
        """Something has changed; where that may be a machine, it is a wish like a client's."""
        if machines:
            with self._lock:
                changed = self._intent.scan()
                version = self._store.touch()
                self._intent.hold(changed, version)
            self._store.commit(version)
            self._wake(changed)
        else:
            self._store.touch_later()
        self._intent.bump()

    def _tell(self, notebook: Any, what: str, who: str) -> None:
        """Put it into the log of events."""
        self._intent.journal.note(
            "notebook",
            what,
            who,
            id=extra(notebook).machine.id,
            name=notebook.notebook_instance_name,
            account=notebooks.account_of(notebook),
            region=notebook.region_name,
        )

    # -- into service -------------------------------------------------------------------------------

    def _await(self, notebook: Any, start: tuple[Any, ...]) -> None:
        """Ask its server until that answers."""
        began = looked = time.monotonic()
        instance_id = start[0]
        while not self._closing.is_set():
            with self._lock:
                machine = extra(notebook).machine
                if machine is None or notebooks.start_of(machine) != start or machine.state != "running":
                    return
                url = notebook_view.server_url(notebook)
            if url and answers(url):
                self._in_service(notebook, start)
                return
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                phase = guest.phase(self._engine(), instance_id)
                if phase and phase != "starting JupyterLab":
                    began = now  # each of these has its own limit
                with self._lock:
                    if phase and extra(notebook).progress != phase:
                        extra(notebook).progress = phase
                        self._intent.bump()
            if now - began > _ANSWER:
                self._give_up(notebook, f"its server did not answer within {_ANSWER:g} s; {self._last(instance_id)}")
                return
            self._closing.wait(_PAUSE * max(1, len(self._under_way)))

    def _in_service(self, notebook: Any, start: tuple[Any, ...]) -> None:
        self._keep_logs(notebook, start[0])
        with self._lock:
            mine = extra(notebook)
            if notebooks.start_of(mine.machine) != start:
                return
            mine.ready, mine.created, mine.progress, mine.failure = start, True, "", ""
            mine.started = time.time()
            notebook_stacks.settled(notebook)
            self._tell(notebook, "its server answers: InService", ITSELF)
        self._changed(machines=True)
        log.info("notebook instance %s is in service", notebook.notebook_instance_name)

    def _last(self, instance_id: str) -> str:
        """The last line of its output."""
        try:
            lines = streams.logs(self._engine(), instance_id, tail=5).decode(errors="replace").strip().splitlines()
        except EngineError:
            lines = []
        return f"its last words: {lines[-1].strip()}" if lines else "it has said nothing"

    def _give_up(self, notebook: Any, reason: str) -> None:
        with self._lock:
            notebooks.fail(notebook, reason)
            notebook_stacks.settled(notebook, reason)
            self._tell(notebook, f"failed: {reason}", CONTROL_PLANE)
        self._changed(machines=True)

    def _again(self, notebook: Any, key: tuple[Any, ...]) -> None:
        """Go on with one that is stopped only to be started again."""
        with self._lock:
            mine = extra(notebook)
            if mine.machine.state == "stopped":
                mine.restarting = False
                notebooks.start(notebook, self._settings)
            elif mine.machine.state == "running":
                notebooks.restart(notebook)  # it was on its way to run when it was asked for
        self._changed(machines=True)

    # -- failures -----------------------------------------------------------------------------------

    def _explain(self, notebook: Any, key: tuple[Any, ...]) -> None:
        """Find out why it ended; the machine knows the exit code alone."""
        reason = ""
        try:
            reason = self._left(notebook, key[1])
        except EngineError as error:
            log.info("%s: %s", notebook.notebook_instance_name, error)
        with self._lock:
            if not notebooks.unexplained(notebook):
                return
            reason = reason or self._of_machine(notebook)
            extra(notebook).failure = reason
            notebook_stacks.settled(notebook, reason)
            self._tell(notebook, f"failed: {reason}", ITSELF)
        log.warning("notebook instance %s: %s", notebook.notebook_instance_name, reason)
        self._changed(machines=True)

    def _left(self, notebook: Any, instance_id: str) -> str:
        """What its container has left that says why; empty where that is nothing."""
        engine = self._engine()
        there = containers.find(engine, instance_id)
        if there is None:
            return ""
        self._keep_logs(notebook, instance_id)
        found = guest.failure(engine, instance_id)
        if found is not None:
            return self._why(notebook, found, instance_id)
        if there.oom_killed or not there.exit_code:
            return ""
        return f"its server ended by itself with exit code {there.exit_code}; {self._last(instance_id)}"

    def _of_machine(self, notebook: Any) -> str:
        reason = notebooks.machine_reason(notebook) or "its machine ended"
        image = notebooks.image_of(notebook, self._settings)
        if image == names.NOTEBOOK_IMAGE and f"{image} is not here" in reason:
            return (
                f"{reason.rstrip('.')} (or name another one with OBLAKO_NOTEBOOK_IMAGE or the tag {names.TAG_IMAGE})."
            )
        return reason

    def _why(self, notebook: Any, found: guest.Failure, instance_id: str) -> str:
        if found.what in guest.HOOKS:
            config = (
                f"Notebook Instance Lifecycle Config 'arn:aws:sagemaker:{notebook.region_name}:"
                f"{notebooks.account_of(notebook)}:notebook-instance-lifecycle-config/{notebook.lifecycle_config_name}'"
            )
            problem = "took longer than 5 minutes" if found.detail == "time" else "failed"
            detail = "" if found.detail == "time" else f" ({found.what} ended with exit code {found.detail})"
            return (
                f"{config} for Notebook Instance '{notebook.arn}' {problem}{detail}. Please check your CloudWatch logs "
                f"for more details: {LOG_GROUP}, {notebook.notebook_instance_name}/LifecycleConfig{found.what}."
            )
        if found.what == "clone":
            return f"the code repository {found.detail} can't be cloned; {self._last(instance_id)}"
        return "the image has no jupyter: name one that has with the tag oblako:image."

    def _keep_logs(self, notebook: Any, instance_id: str) -> None:
        """Put the output of lifecycle scripts where SageMaker puts it: CloudWatch Logs."""
        if not notebook.lifecycle_config_name:
            return
        engine = self._engine()
        texts = {hook: guest.hook_log(engine, instance_id, hook) for hook in guest.HOOKS}
        with self._lock:
            backend: Any = logs_backends[notebooks.account_of(notebook)][notebook.region_name]
            now = int(time.time() * 1000)
            for hook, text in texts.items():
                if text is None:
                    continue
                stream = f"{notebook.notebook_instance_name}/LifecycleConfig{hook}"
                if LOG_GROUP not in backend.groups:
                    backend.create_log_group(LOG_GROUP, {})
                if stream not in backend.groups[LOG_GROUP].streams:
                    backend.create_log_stream(LOG_GROUP, stream)
                events = [{"timestamp": now, "message": line} for line in text.splitlines() if line]
                if events:
                    backend.put_log_events(LOG_GROUP, stream, events)
            self._store.touch_later()

    def _recover(self, notebook: Any, key: tuple[Any, ...]) -> None:
        """The token of one whose record was made anew; its container has it."""
        instance_id = extra(notebook).machine.id
        token = guest.token(self._engine(), instance_id)
        if token:
            with self._lock:
                extra(notebook).token = token
            self._changed()

    # -- rest ---------------------------------------------------------------------------------------

    def _due(self, notebook: Any) -> bool:
        """Whether it is time to look whether it should stop."""
        limits = [notebooks.seconds_of(notebook, tag) for tag in (names.TAG_LIFETIME, names.TAG_IDLE)]
        known = [limit for limit in limits if limit is not None]
        now = time.monotonic()
        if not known or now - self._looked.get(notebook.arn, 0.0) < min(min(known) / 10, 15.0):
            return False
        self._looked[notebook.arn] = now
        return True

    def _rest(self, notebook: Any, key: tuple[Any, ...]) -> None:
        """Stop one that is at the end of its time, or that nobody has used for long enough."""
        with self._lock:
            mine = extra(notebook)
            url, token, started = notebook_view.server_url(notebook), mine.token, mine.started
            life = notebooks.seconds_of(notebook, names.TAG_LIFETIME)
            idle = notebooks.seconds_of(notebook, names.TAG_IDLE)
        why = ""
        if life is not None and time.time() - started >= life:
            why = f"at the end of its {life:g} s"
        elif idle is not None:
            quiet = idle_for(url, token)
            if quiet is not None and quiet >= idle:
                why = f"idle for {quiet:.0f} s"
        if not why:
            return
        log.info("notebook instance %s is stopped: %s", notebook.notebook_instance_name, why)
        with self._lock:
            if notebooks.status(notebook) != "InService":
                return
            notebooks.stop(notebook)
        self._changed(machines=True)


def _get(url: str, path: str, token: str = "", timeout: float = 2.0) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"token {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read(65536)
    finally:
        connection.close()


def answers(url: str, path: str = "/api") -> bool:
    """Whether a server answers now."""
    try:
        return _get(url, path)[0] < 400
    except (OSError, http.client.HTTPException):
        return False


def idle_for(url: str, token: str) -> float | None:
    """For how many seconds nobody has used a server; None where it can't be told, or a kernel is at work."""
    from datetime import datetime, timezone

    try:
        code, body = _get(url, "/api/status?no_track_activity=1", token)
        kernels_code, kernels = _get(url, "/api/kernels?no_track_activity=1", token)
        if code != 200 or kernels_code != 200:
            return None
        if any(kernel.get("execution_state") == "busy" for kernel in json.loads(kernels)):
            return None
        last = str(json.loads(body)["last_activity"]).replace("Z", "+00:00")
        return (datetime.now(timezone.utc) - datetime.fromisoformat(last)).total_seconds()
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
