"""Remove what test runs made in an engine, found by its label and by nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker.errors

RUN = "oblako.test-run"
"""Label of everything that a test makes; its value is the session's id."""
PLANE = "oblako.test-plane"
"""Label of everything that one control plane of a test makes."""


def _gone(remove: Callable[[], Any]) -> bool:
    """Remove one thing; True where it was here until now."""
    for last in (False, False, True):
        try:
            remove()
        except docker.errors.NotFound:
            return False
        except docker.errors.APIError:
            # A removal that is under way already; what stays is told by the next sweep.
            if last:
                return False
        else:
            return True
    return False


def sweep(api: Any, label: str) -> list[str]:
    """Remove all containers, volumes, networks and images with a label.

    Parameters
    ----------
    api : docker.APIClient
    label : str
        ``key=value``, or a key alone for any value.

    Returns
    -------
    list of str
        What was removed, such as ``container oblako-ec2-i-0abc``.
    """
    if not label.startswith((RUN, PLANE)):
        raise ValueError(f"{label} is not the label of a test run")
    filters = {"label": [label]}
    found: list[tuple[str, Callable[[], Any]]] = []

    def run() -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            removed = list(pool.map(lambda item: _gone(item[1]), found))
        return [name for (name, _), gone in zip(found, removed, strict=True) if gone]

    def container(raw: dict[str, Any]) -> None:
        found.append((f"container {raw['Names'][0].lstrip('/')}", lambda: api.remove_container(raw["Id"], force=True)))

    def volume(raw: dict[str, Any]) -> None:
        found.append((f"volume {raw['Name']}", lambda: api.remove_volume(raw["Name"], force=True)))

    def network(raw: dict[str, Any]) -> None:
        found.append((f"network {raw['Name']}", lambda: api.remove_network(raw["Id"])))

    def image(raw: dict[str, Any]) -> None:
        found.append((f"image {raw['Id']}", lambda: api.remove_image(raw["Id"], force=True)))

    done: list[str] = []
    # One kind after the other: nothing else can go before the containers that use it.
    for listed, add in (
        (lambda: api.containers(all=True, filters=filters), container),
        (lambda: api.volumes(filters=filters)["Volumes"] or [], volume),
        (lambda: api.networks(filters=filters), network),
        (lambda: api.images(filters=filters), image),
    ):
        found.clear()
        for raw in listed():
            add(raw)
        done += run()
    return done


def main() -> int:
    """Sweep what test runs that were killed left behind in the engine that answers (``make clean``)."""
    from oblako_magic.engine import connect
    from oblako_magic.errors import EngineUnavailable
    from oblako_magic.settings import Settings

    try:
        engine = connect(Settings.from_env())
    except EngineUnavailable as error:
        print(f"nothing swept: {error}")
        return 0
    removed = sweep(engine.api, RUN)
    print("\n".join(f"removed {name}" for name in removed) or "no test run left anything behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
