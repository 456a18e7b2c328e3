"""The containers of instances: make, start, stop, look. Already done is success; ``find`` answers None."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from docker.types import Mount

from .. import names
from ..errors import EngineError, NotFound
from ..model import ContainerSpec, ContainerState, Limits, PortMapping
from . import networks, volumes
from .client import Engine
from .images import Image
from .translate import translated

_GRACE = 10
"""Seconds between the polite signal and the hard one, as EC2 gives an operating system its time to stop."""
_NAME_TAKEN = re.compile(r"name .*in use|already exists")
_MIN_MEMORY_MIB = 6
"""Docker refuses limits below it."""


def _limits(engine: Engine, limits: Limits) -> dict[str, int]:
    """The limits in the engine's units, clipped to the host."""
    found: dict[str, int] = {}
    cpus, memory = engine.host
    if limits.vcpus:
        found["NanoCpus"] = int(min(limits.vcpus, cpus) * 1e9)
    if limits.memory_mib and memory:
        found["Memory"] = max(_MIN_MEMORY_MIB, min(limits.memory_mib, memory)) << 20
    return found


def _host_config(engine: Engine, spec: ContainerSpec, image: Image, volume_labels: Mapping[str, str]) -> dict[str, Any]:
    limits = _limits(engine, spec.limits)
    # In the mount the volume's labels cost no call of their own; Podman's API drops them there.
    volume = names.root_volume_name(spec.instance_id)
    mounts = [
        Mount(place, volume, type="volume", labels=dict(volume_labels))
        for place in (names.ROOT_MOUNT, *spec.also_mounted_at)
    ]
    alias = networks.host_alias(engine)
    if not spec.internet:
        alias = networks.closed_gateway(engine) or alias
    config: dict[str, Any] = engine.api.create_host_config(
        init=spec.replace_entrypoint or not image.own_init,
        mounts=mounts,
        network_mode=None if spec.internet else names.NO_INTERNET_NETWORK,
        extra_hosts={names.HOST_ALIAS: alias},
        port_bindings={f"{m.container_port}/tcp": (m.host, m.host_port) for m in spec.ports},
        nano_cpus=limits.get("NanoCpus"),
        mem_limit=limits.get("Memory"),
    )
    return config


def create(engine: Engine, spec: ContainerSpec, image: Image) -> str:
    """Make an instance's container and its root volume, without starting it.

    Parameters
    ----------
    engine : Engine
    spec : ContainerSpec
    image : Image

    Returns
    -------
    str
        The container's id; the one that is there already, where there is one.

    Raises
    ------
    EngineError
    """
    name = names.container_name(spec.instance_id)
    labels = {
        **engine.labels,
        **spec.labels,
        names.LABEL_SERVICE: names.SERVICE_EC2,
        names.LABEL_INSTANCE: spec.instance_id,
    }
    if engine.podman:
        volumes.ensure(engine, names.root_volume_name(spec.instance_id), labels)
    if not spec.internet:
        networks.ensure_closed(engine)
    command = list(spec.command or image.command or ())
    entrypoint: list[str] | None = [] if spec.command and not image.entrypoint else None
    if spec.replace_entrypoint:
        entrypoint, command = command[:1], command[1:]
    try:
        with translated(f"make the container of {spec.instance_id}"):
            made = engine.api.create_container(
                image.name,
                command=command or None,
                entrypoint=entrypoint,
                user=spec.user or None,
                name=name,
                hostname=spec.hostname or None,
                labels=labels,
                ports=[m.container_port for m in spec.ports],
                # Without them a shell in the panel or `docker attach` has nothing to hold on to.
                stdin_open=True,
                host_config=_host_config(engine, spec, image, labels),
            )
    except EngineError as error:
        there = _find_soon(engine, spec.instance_id) if _NAME_TAKEN.search(str(error)) else None
        if there is None:
            raise
        return there.container_id
    return str(made["Id"])


def _find_soon(engine: Engine, instance_id: str) -> ContainerState | None:
    """The container whose name is taken: one that is just being made has the name before it can be looked at."""
    for _ in range(20):
        there = find(engine, instance_id)
        if there is not None:
            return there
        time.sleep(0.1)
    return None


def set_limits(engine: Engine, spec: ContainerSpec) -> bool:
    """Give a container that is there the limits of its instance's type, which may have changed since.

    Returns
    -------
    bool
        False where they differ and the engine can't change them (Podman before 4.5).
    """
    wanted = _limits(engine, spec.limits)
    name = names.container_name(spec.instance_id)
    with translated(f"set the limits of {spec.instance_id}"):
        has = engine.api.inspect_container(name).get("HostConfig") or {}
        if not wanted or all(has.get(key) == value for key, value in wanted.items()):
            return True
        if engine.podman:
            return False
        # Twice the memory for memory and swap is what Docker gives a new container. docker-py's own call has
        # no NanoCpus, and Docker does not let a CPU quota take its place.
        data = {**wanted, "MemorySwap": 2 * wanted["Memory"]} if "Memory" in wanted else wanted
        api = engine.api
        api._raise_for_status(api._post_json(api._url("/containers/{0}/update", name), data=data))
    return True


def start(engine: Engine, instance_id: str) -> None:
    """Start the container; one that runs is left as it is."""
    with translated(f"start {instance_id}"):
        engine.api.start(names.container_name(instance_id))


def stop(engine: Engine, instance_id: str, grace: int = _GRACE) -> None:
    """Stop the container; one that is stopped or gone is left as it is."""
    try:
        with translated(f"stop {instance_id}"):
            engine.api.stop(names.container_name(instance_id), timeout=grace)
    except NotFound:
        return


def restart(engine: Engine, instance_id: str, grace: int = _GRACE) -> None:
    """Stop and start the container."""
    with translated(f"reboot {instance_id}"):
        engine.api.restart(names.container_name(instance_id), timeout=grace)


def remove(engine: Engine, instance_id: str) -> None:
    """Remove the container, running or not, but no named volume; already gone is success."""
    try:
        with translated(f"remove the container of {instance_id}"):
            # v=True takes the anonymous volumes of the image along; named ones stay.
            engine.api.remove_container(names.container_name(instance_id), force=True, v=True)
    except NotFound:
        return


def published_at(bindings: Mapping[str, Any] | None) -> tuple[PortMapping, ...]:
    """The host ports in an engine's table of bindings."""
    found = []
    for inner, hosts in (bindings or {}).items():
        for host in hosts or []:
            number = str(host.get("HostPort") or "")
            if inner.endswith("/tcp") and number.isdigit():
                found.append(PortMapping(int(inner[:-4]), int(number), host.get("HostIp") or "0.0.0.0"))
    return tuple(found)


def _address(settings: Mapping[str, Any]) -> str:
    if settings.get("IPAddress"):
        return str(settings["IPAddress"])
    addresses = (net.get("IPAddress") for net in (settings.get("Networks") or {}).values())
    return next((str(address) for address in addresses if address), "")


def _state(raw: Mapping[str, Any], instance_id: str) -> ContainerState:
    state, config = raw.get("State") or {}, raw.get("Config") or {}
    return ContainerState(
        instance_id=instance_id,
        container_id=str(raw.get("Id", "")),
        status=str(state.get("Status", "")).replace("configured", "created").replace("initialized", "created"),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        address=_address(raw.get("NetworkSettings") or {}),
        image=str(config.get("Image", "")).removeprefix("localhost/"),
        labels=config.get("Labels") or {},
        started_at=str(state.get("StartedAt", "")),
        finished_at=str(state.get("FinishedAt", "")),
        ports=published_at((raw.get("HostConfig") or {}).get("PortBindings")),
    )


def find(engine: Engine, instance_id: str) -> ContainerState | None:
    """The container of an instance as it is now; None where there is none."""
    try:
        with translated(f"look at the container of {instance_id}"):
            raw = engine.api.inspect_container(names.container_name(instance_id))
    except NotFound:
        return None
    return _state(raw, instance_id)


def image_user(engine: Engine, instance_id: str) -> str:
    """The account that the image of an instance's container has for its processes; empty is root."""
    with translated(f"look at the image of {instance_id}"):
        image = engine.api.inspect_container(names.container_name(instance_id))["Image"]
        return str((engine.api.inspect_image(image).get("Config") or {}).get("User") or "")


def all_containers(engine: Engine) -> list[ContainerState]:
    """Every container with the label of this service, whoever made it.

    One call: exit codes, start times and host ports of stopped ones are not in it; ``find`` has them.
    """
    with translated("list the containers"):
        rows = engine.api.containers(all=True, filters={"label": f"{names.LABEL_SERVICE}={names.SERVICE_EC2}"})
    found = []
    for row in rows:
        labels = row.get("Labels") or {}
        own = (names.instance_id_of(name) for name in row.get("Names") or [])
        instance_id = labels.get(names.LABEL_INSTANCE) or next(filter(None, own), "")
        if not instance_id:
            continue
        ports = tuple(
            PortMapping(int(p["PrivatePort"]), int(p["PublicPort"]), p.get("IP") or "0.0.0.0")
            for p in row.get("Ports") or []
            if p.get("PublicPort") and p.get("Type") == "tcp"
        )
        found.append(
            ContainerState(
                instance_id=instance_id,
                container_id=str(row.get("Id", "")),
                status=str(row.get("State", "")).lower(),
                address=_address(row.get("NetworkSettings") or {}),
                image=str(row.get("Image", "")).removeprefix("localhost/"),
                labels=labels,
                ports=ports,
            )
        )
    return found


def published(containers: Iterable[ContainerState]) -> set[int]:
    """The host ports of these containers."""
    return {mapping.host_port for container in containers for mapping in container.ports}
