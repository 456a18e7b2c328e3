"""An engine in memory and a source of wishes, for what a real engine can't be made to do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import docker.errors
import requests

from oblako_magic import names
from oblako_magic.engine import Engine
from oblako_magic.errors import EngineUnavailable
from oblako_magic.model import ContainerSpec
from oblako_magic.reconcile.plan import Desired
from oblako_magic.reconcile.source import Observation


def api_error(status: int, text: str) -> docker.errors.APIError:
    """What docker-py raises for such an answer of the engine."""
    response = requests.Response()
    response.status_code = status
    kind = docker.errors.NotFound if status == 404 else docker.errors.APIError
    return kind(text, response=response, explanation=text)


class FakeApi:
    """The part of docker-py's low-level client that the loop comes to use.

    ``fail`` maps the name of a call to the errors that it raises, one at a time, before it works.
    """

    api_version = "1.41"

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.containers_: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.fail: dict[str, list[Exception]] = {}
        self.hold: dict[str, threading.Event] = {}
        self.inside: dict[str, int] = {}
        self.most_inside = 0
        self.twice: list[str] = []

    def _enter(self, call: str, name: str) -> None:
        with self.lock:
            self.calls.append((call, name))
            self.inside[name] = self.inside.get(name, 0) + 1
            if self.inside[name] > 1:
                self.twice.append(name)
            self.most_inside = max(self.most_inside, sum(self.inside.values()))
            errors = self.fail.get(call)
            error = errors.pop(0) if errors else None
            hold = self.hold.get(call)
        try:
            if hold is not None:
                assert hold.wait(20)
            if error is not None:
                raise error
        finally:
            with self.lock:
                self.inside[name] -= 1

    def count(self, call: str) -> int:
        with self.lock:
            return sum(1 for made, _ in self.calls if made == call)

    def _get(self, name: str) -> dict[str, Any]:
        with self.lock:
            if name not in self.containers_:
                raise api_error(404, f"No such container: {name}")
            return self.containers_[name]

    def info(self) -> dict[str, Any]:
        return {"NCPU": 2, "MemTotal": 1 << 32}

    def create_host_config(self, **_: Any) -> dict[str, Any]:
        return {}

    def inspect_image(self, name: str) -> dict[str, Any]:
        return {"Config": {"Cmd": ["/bin/sh"]}}

    def inspect_container(self, name: str) -> dict[str, Any]:
        self._enter("inspect", name)
        return self._get(name)

    def create_container(self, image: str, *, name: str, **_: Any) -> dict[str, Any]:
        self._enter("create", name)
        with self.lock:
            self.containers_[name] = {"Id": name, "State": {"Status": "created"}, "Config": {"Image": image}}
        return {"Id": name}

    def start(self, name: str) -> None:
        self._enter("start", name)
        self._get(name)["State"] = {"Status": "running"}

    def stop(self, name: str, timeout: int) -> None:
        self._enter("stop", name)
        self._get(name)["State"] = {"Status": "exited", "ExitCode": 143}

    def remove_container(self, name: str, **_: Any) -> None:
        self._enter("remove", name)
        self._get(name)
        with self.lock:
            del self.containers_[name]

    def remove_volume(self, name: str) -> None:
        self._enter("remove_volume", name)

    def close(self) -> None:
        pass


class _Stream:
    def __init__(self) -> None:
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def put(self, event: dict[str, Any] | None) -> None:
        self._events.put(event)

    def close(self) -> None:
        self._events.put(None)

    def __iter__(self) -> Any:
        while (event := self._events.get()) is not None:
            yield event


class FakeEngine(Engine):
    """An engine whose events are put in by the test."""

    def __init__(self, api: FakeApi, run: str = "first") -> None:
        super().__init__("fake://", api, False, "0", run=run)
        self.stream: _Stream | None = None
        self.ending = False

    def confirm(self) -> None:
        if self.ending:
            raise EngineUnavailable("the container engine does not answer.")

    def stream_client(self) -> Any:
        engine = self

        class Client:
            def events(self, **_: Any) -> _Stream:
                engine.stream = _Stream()
                return engine.stream

            def close(self) -> None:
                pass

        return Client()

    def tell(self, action: str, instance_id: str) -> None:
        """An event."""
        assert self.stream is not None
        self.stream.put({"Action": action, "Actor": {"Attributes": {names.LABEL_INSTANCE: instance_id}}})


@dataclass
class FakeSource:
    """Wishes and what was reported of them; a report is taken over as the control plane does it."""

    wishes: dict[str, Desired] = field(default_factory=dict)
    reports: list[tuple[str, Observation]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    unchecked: set[str] = field(default_factory=set)
    any_port: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def want(self, instance_id: str, **changes: Any) -> None:
        with self.lock:
            base = self.wishes.get(instance_id) or Desired(
                ContainerSpec(instance_id, "image"), "running", explicit_image=True
            )
            self.wishes[instance_id] = replace(base, **changes)

    def desired(self, instance_id: str) -> Desired | None:
        with self.lock:
            if self.errors:
                raise self.errors.pop(0)
            over = self.states.get(instance_id) == "terminated" and instance_id not in self.unchecked
            return None if over else self.wishes.get(instance_id)

    def report(self, instance_id: str, seen: Observation) -> None:
        with self.lock:
            self.reports.append((instance_id, seen))
            mine = self.wishes[instance_id]
            for name in ("want", "started", "reboots_done", "engine_run"):
                value = getattr(seen, name)
                if value is not None:
                    mine = replace(mine, **{name: value})
            self.wishes[instance_id] = mine
            if seen.state is not None:
                self.states[instance_id] = seen.state
            if seen.unchecked:
                self.unchecked.add(instance_id)
            if seen.looked:
                self.unchecked.discard(instance_id)

    def instance_ids(self) -> Iterable[str]:
        with self.lock:
            return list(self.wishes)

    def ports(self, instance_id: str, desired: Desired) -> Desired:
        return desired

    def other_ports(self, instance_id: str) -> bool:
        return self.any_port

    def reason(self, instance_id: str) -> str:
        with self.lock:
            found = [seen.reason.message for key, seen in self.reports if key == instance_id and seen.reason]
        return found[-1] if found else ""
