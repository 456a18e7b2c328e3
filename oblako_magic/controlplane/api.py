"""The control plane's own small API, for what AWS has no call for (ADR 0003). Loopback, JSON.

=======  ==================  ==========================================================
GET      /hello              who answers
GET      /status             engine, counts, notices
GET      /instances          ``?since=REVISION&timeout=SECONDS`` waits for a change
GET      /notebooks          the same of notebook instances
GET      /events             ``?since=NUMBER&timeout=SECONDS&log=ID``: what changed and who did it
GET      /orphans            what carries our labels and has no record
POST     /adopt, /remove     ``{"kind", "name"}`` of an orphan
POST     /publish            ``{"id", "port", "host_port"?}``: ``{"host_port", "host", "url"}``
POST     /unpublish          ``{"id", "port"}``
POST     /link               ``{"id", "port", "path", "token"}``: ``{"url"}`` that opens the page once
POST     /stop               end the process; instances keep running
=======  ==================  ==========================================================
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from .. import __version__, names
from ..engine import Engine, containers, volumes
from ..errors import EngineError, NotFound, OblakoError
from ..settings import Settings
from . import notebook_links, notebook_view, notebooks, rebuild
from .intent import Intent
from .process import PROTOCOL
from .publishing import Publisher
from .records import all_instances
from .rows import row
from .store import Store

log = logging.getLogger(__name__)

_LONGEST_WAIT = 60.0
_SHORTEST_WAIT = 0.2
_GUESTS = 16
"""Instances that may wait at once, each for one of the server's threads."""


class Api:
    """Answers the calls.

    Parameters
    ----------
    settings : Settings
    lock : threading.RLock
        Moto's.
    intent : Intent
    store : Store
    control_plane : str
        The id of this state directory.
    publisher : Publisher
    engine : callable
        The connected engine, or ``EngineUnavailable``.
    wake : callable
    stop : callable
        Ends the process.
    """

    def __init__(
        self,
        settings: Settings,
        lock: Any,
        intent: Intent,
        store: Store,
        control_plane: str,
        publisher: Publisher,
        *,
        engine: Callable[[], Engine],
        wake: Callable[[list[str]], None],
        stop: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._intent = intent
        self._store = store
        self._control_plane = control_plane
        self._publisher = publisher
        self._engine = engine
        self._wake = wake
        self._stop = stop
        self.notices: list[str] = []
        self.ready = threading.Event()
        self._guests = threading.BoundedSemaphore(_GUESTS)

    def handle(
        self, method: str, path: str, query: str, body: bytes, who: str = "", *, guest: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """Answer one call, by whom for the log of events: (HTTP status, JSON object).

        A guest is an instance, which is told less; the guard has let in only what it may ask.
        """
        import json

        table: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {
            ("GET", "/hello"): _hello if guest else self._hello,
            ("GET", "/status"): self._status,
            ("GET", "/instances"): self._guests_instances if guest else self._instances,
            ("GET", "/notebooks"): self._guests_notebooks if guest else self._notebooks,
            ("GET", "/events"): self._events,
            ("GET", "/orphans"): self._orphans,
            ("POST", "/adopt"): self._adopt,
            ("POST", "/remove"): self._remove,
            ("POST", "/publish"): self._publish,
            ("POST", "/unpublish"): self._unpublish,
            ("POST", "/link"): self._link,
            ("POST", "/stop"): self._end,
        }
        call = table.get((method, path))
        if call is None:
            return "404 Not Found", {"error": f"the control plane has no {method} {path}."}
        try:
            arguments = json.loads(body) if body else {key: values[0] for key, values in parse_qs(query).items()}
            if not isinstance(arguments, dict):
                raise ValueError("not an object")
            return "200 OK", call({**arguments, "who": who})
        except (ValueError, KeyError, TypeError) as error:
            return "400 Bad Request", {"error": f"the control plane can't read the call ({error})."}
        except NotFound as error:
            return "404 Not Found", {"error": str(error)}
        except OblakoError as error:
            return "409 Conflict", {"error": str(error)}

    def _hello(self, _: dict[str, Any]) -> dict[str, Any]:
        return {**_hello({}), "pid": os.getpid(), "state_dir": str(self._settings.state_dir)}

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        engine, url, error = "", "", ""
        try:
            connected = self._engine()
            engine, url = connected.title, connected.url
        except EngineError as problem:
            error = str(problem)
        with self._lock:
            counts = Counter(
                instance.state for instance in all_instances() if str(instance.owner_id) != names.NOTEBOOK_ACCOUNT
            )
        return {
            **self._hello({}),
            "engine": engine,
            "engine_url": url,
            "engine_error": error,
            "counts": dict(counts),
            "notices": list(self.notices),
        }

    def _instances(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if "since" in arguments:
            timeout = min(float(arguments.get("timeout", 0)), _LONGEST_WAIT)
            self._intent.wait(int(arguments["since"]), timeout)
        with self._lock:
            revision = self._intent.revision
            rows = [row(instance) for instance in all_instances()]
        return {"revision": revision, "instances": rows}

    def _notebooks(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if "since" in arguments:
            timeout = min(float(arguments.get("timeout", 0)), _LONGEST_WAIT)
            self._intent.wait(int(arguments["since"]), timeout)
        with self._lock:
            revision = self._intent.revision
            rows = [notebook_view.row(notebook) for notebook in notebooks.all_notebooks()]
        return {"revision": revision, "notebooks": rows}

    def _guests_instances(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same for an instance: of the user's accounts alone."""
        answer = self._as_guest(self._instances, arguments)
        rows = [row for row in answer["instances"] if row["account"] != names.NOTEBOOK_ACCOUNT]
        return {**answer, "instances": rows}

    def _guests_notebooks(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same for an instance: without their machines, which are the service account's."""
        answer = self._as_guest(self._notebooks, arguments)
        return {**answer, "notebooks": [{**one, "machine": "", "container": ""} for one in answer["notebooks"]]}

    def _as_guest(self, call: Callable[[dict[str, Any]], dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
        """Never so many waits that the user's own can't."""
        waits = self._guests.acquire(blocking=False)
        try:
            if not waits:
                arguments = {**arguments, "timeout": min(float(arguments.get("timeout", 0)), _SHORTEST_WAIT)}
            return call(arguments)
        finally:
            if waits:
                self._guests.release()

    def _events(self, arguments: dict[str, Any]) -> dict[str, Any]:
        timeout = min(float(arguments.get("timeout", 0)), _LONGEST_WAIT)
        return self._intent.journal.since(int(arguments.get("since", 0)), timeout, str(arguments.get("log", "")))

    def _known(self) -> tuple[set[str], set[str]]:
        with self._lock:
            live = {instance.id for instance in all_instances() if instance.state != "terminated"}
            kept = {instance.id for instance in all_instances(forgotten=True) if instance.oblako.root_kept}
        return live, kept

    def _orphans(self, _: dict[str, Any]) -> dict[str, Any]:
        engine = self._engine()
        live, kept = self._known()
        found = []
        for container in containers.all_containers(engine):
            foreign = container.labels.get(names.LABEL_CONTROL_PLANE) != self._control_plane
            if foreign or container.instance_id not in live:
                detail = f"{container.status}, image {container.image}"
                found.append(
                    _orphan(
                        "container", names.container_name(container.instance_id), container.instance_id, detail, foreign
                    )
                )
        for volume in volumes.all_volumes(engine):
            foreign = volume.labels.get(names.LABEL_CONTROL_PLANE) != self._control_plane
            instance_id = volume.labels.get(names.LABEL_INSTANCE) or names.instance_id_of(volume.name) or ""
            if foreign or instance_id not in live | kept:
                found.append(_orphan("volume", volume.name, instance_id, "holds data", foreign))
        return {"orphans": found}

    def _find_orphan(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for orphan in self._orphans({})["orphans"]:
            if (orphan["kind"], orphan["name"]) == (arguments["kind"], arguments["name"]):
                return orphan  # type: ignore[no-any-return]
        raise NotFound(f"no orphaned {arguments['kind']} {arguments['name']}; oblako doctor lists them.")

    def _adopt(self, arguments: dict[str, Any]) -> dict[str, Any]:
        orphan = self._find_orphan(arguments)
        if orphan["kind"] != "container":
            raise OblakoError(
                f"the volume {orphan['name']} can't be adopted without its container; remove it, or keep it."
            )
        if orphan["foreign"]:
            raise OblakoError(f"{orphan['name']} belongs to another control plane; adopt it there, or remove it there.")
        engine = self._engine()
        container = containers.find(engine, orphan["instance_id"])
        if container is None:
            raise NotFound(f"the container {orphan['name']} is gone.")
        with self._lock:
            instance = rebuild.rebuild(container, engine.run)
            self._intent.scan()
            self._intent.journal.look(instance, arguments["who"])
            version = self._store.touch()
        self._store.commit(version)
        self._wake([instance.id])
        return {"id": instance.id}

    def _remove(self, arguments: dict[str, Any]) -> dict[str, Any]:
        orphan = self._find_orphan(arguments)
        if orphan["foreign"]:
            raise OblakoError(
                f"{orphan['name']} belongs to another control plane; remove it there, or with the engine's own command."
            )
        engine = self._engine()
        if orphan["kind"] == "container":
            containers.remove(engine, orphan["instance_id"])
        else:
            volumes.remove(engine, orphan["name"])
        self._intent.journal.note(orphan["kind"], "orphan removed", arguments["who"], id=orphan["name"])
        return {"removed": orphan["name"]}

    def _publish(self, arguments: dict[str, Any]) -> dict[str, Any]:
        wanted = int(arguments.get("host_port") or 0)
        mapping = self._publisher.publish(str(arguments["id"]), int(arguments["port"]), wanted)
        return {"host_port": mapping.host_port, "host": mapping.host, "live": mapping.live, "url": mapping.url}

    def _unpublish(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._publisher.unpublish(str(arguments["id"]), int(arguments["port"]))
        return {}

    def _link(self, arguments: dict[str, Any]) -> dict[str, Any]:
        from .notebook_rules import endpoint

        path = str(arguments["path"])
        if not path.startswith("/"):
            raise ValueError("a path begins with a slash")
        page = notebook_links.Page(str(arguments["id"]), int(arguments["port"]), path, str(arguments["token"]))
        with self._lock:
            if page.mapping() is None:
                raise NotFound(f"port {page.port} of {page.instance_id} is not published; %ec2 publish does it.")
        return {"url": endpoint.url + notebook_links.links.make("", page)}

    def _end(self, _: dict[str, Any]) -> dict[str, Any]:
        threading.Thread(target=self._stop, name="stop", daemon=True).start()
        return {"stopping": True}


def _hello(_: dict[str, Any]) -> dict[str, Any]:
    return {"service": "oblako_magic", "version": __version__, "protocol": PROTOCOL}


def _orphan(kind: str, name: str, instance_id: str, detail: str, foreign: bool) -> dict[str, Any]:
    return {"kind": kind, "name": name, "instance_id": instance_id, "detail": detail, "foreign": foreign}
