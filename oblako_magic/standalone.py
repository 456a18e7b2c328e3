"""One instance's container without the control plane: the helper that other tools may use alone."""

from __future__ import annotations

from collections.abc import Sequence

from . import catalog, names
from .engine import Engine, containers, images, publish, volumes
from .errors import EngineError, OblakoError
from .model import ContainerSpec, ContainerState, parse_publish
from .settings import Settings


def _image(settings: Settings, image_id: str | None, image: str | None) -> tuple[str, bool]:
    if image:
        return image, True
    if image_id and not catalog.is_ami_id(image_id):
        return image_id, True
    if settings.image:
        return settings.image, True
    known = {ami.ami_id: ami.image for ami in catalog.AMIS}
    return known.get(image_id or "", names.DEFAULT_IMAGE), False


def start(
    engine: Engine,
    settings: Settings,
    instance_id: str,
    image_id: str | None = None,
    image: str | None = None,
    command: Sequence[str] | None = None,
    published_ports: Sequence[str | int] | dict[int, int] | None = None,
) -> ContainerState:
    """Make the container on its root volume and start it; what is there already is kept.

    Raises
    ------
    EngineError
        A container that was made and can't be started is removed again.
    """
    there = containers.find(engine, instance_id)
    made = there is None
    if there is None:
        name, explicit = _image(settings, image_id, image)
        found, _ = images.Resolver(settings.pull_timeout).resolve(engine, name, fallback=not explicit)
        if isinstance(published_ports, dict):
            published_ports = [f"{host or ''}:{inner}" for inner, host in published_ports.items()]
        try:
            wanted = parse_publish(",".join(map(str, published_ports or ())))
        except ValueError as error:
            raise OblakoError(str(error)) from error
        taken = containers.published(containers.all_containers(engine))
        ports = publish.choose(wanted, host=settings.publish_host, between=settings.publish_ports, taken=taken)
        spec = ContainerSpec(instance_id, found.name, tuple(command) if command else None, ports=ports)
        containers.create(engine, spec, found)
    try:
        containers.start(engine, instance_id)
    except EngineError:
        if made:
            terminate(engine, instance_id)
        raise
    state = containers.find(engine, instance_id)
    if state is None:
        raise EngineError(f"the container of {instance_id} was removed while it started.")
    return state


def terminate(engine: Engine, instance_id: str) -> None:
    """Remove the container and its root volume; already gone is success."""
    containers.stop(engine, instance_id, grace=3)
    containers.remove(engine, instance_id)
    volumes.remove(engine, names.root_volume_name(instance_id))
