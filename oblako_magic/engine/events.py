"""What the engine says of its containers while it happens. An event only says: look again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import names
from .client import Engine
from .translate import translated

_TELLING = {
    "start",
    "die",
    "died",
    "stop",
    "kill",
    "oom",
    "destroy",
    "remove",
    "pause",
    "unpause",
    "restart",
    "rename",
    "cleanup",
}


def watch(engine: Engine, on_open: Callable[[Any], None]) -> Iterator[tuple[str, str]]:
    """Yield (instance id, action) until the stream ends.

    Parameters
    ----------
    engine : Engine
    on_open : callable
        Gets the stream; its ``close()``, called from another thread, ends the loop.

    Raises
    ------
    EngineError
        Where the engine goes away.
    """
    client = engine.stream_client()
    try:
        with translated("follow the engine's events"):
            stream = client.events(
                decode=True, filters={"type": "container", "label": f"{names.LABEL_SERVICE}={names.SERVICE_EC2}"}
            )
            on_open(stream)
            for event in stream:
                action = str(event.get("Action") or event.get("status") or "").split(":")[0]
                attributes = (event.get("Actor") or {}).get("Attributes") or {}
                instance_id = attributes.get(names.LABEL_INSTANCE) or names.instance_id_of(attributes.get("name", ""))
                if instance_id and action in _TELLING:
                    yield instance_id, action
    finally:
        client.close()
