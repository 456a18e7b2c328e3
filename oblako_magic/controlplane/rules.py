"""All rules of EC2 that moto lacks, laid over it in their order."""

from __future__ import annotations

from collections.abc import Callable

from ..settings import Settings
from . import (
    addresses,
    descriptions,
    groups,
    instance_calls,
    instance_filters,
    instance_rules,
    launch_rules,
    memberships,
    notebook_more,
    notebook_rules,
    notebook_stacks,
    request_rules,
    semantics,
    shortage,
    stacks,
)
from .capacity import Size, host_size


def install(settings: Settings, engine_size: Callable[[], Size | None]) -> None:
    """Once a process, before the first backend is made.

    Parameters
    ----------
    settings : Settings
    engine_size : callable
        The engine's CPUs and MiB; None while no engine has told them. It must not wait for one.
    """

    def limit() -> Size | None:
        if settings.capacity == "host":
            return engine_size() or host_size()
        return settings.capacity

    semantics.install()
    stacks.install(settings.strict)
    launch_rules.install(settings.strict, limit)
    addresses.install()
    memberships.install()
    instance_rules.install(settings.strict, limit)
    instance_calls.install(settings.strict)
    request_rules.install(settings.strict)
    descriptions.install()
    instance_filters.install()
    shortage.install()
    groups.install()
    notebook_rules.install(settings)
    notebook_more.install()
    notebook_stacks.install()
