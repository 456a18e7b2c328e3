"""Auto Scaling with target groups: what moto takes for granted because its instances run at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from moto.autoscaling.models import AutoScalingBackend
from moto.ec2.models.instances import InstanceState
from moto.elbv2.models import FakeTargetGroup

_for_group: ContextVar[bool] = ContextVar("for_group", default=False)


def _update_targets(original: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    @functools.wraps(original)
    def update_attached_target_groups(self: Any, group_name: str) -> None:
        token = _for_group.set(True)
        try:
            original(self, group_name)
        finally:
            _for_group.reset(token)

    return update_attached_target_groups


def _register(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """A group registers its new members, which are pending still; RegisterTargets itself wants running ones, as on AWS.

    AWS's group waits until a member is InService; moto's registers in the call that launches it.
    """

    @functools.wraps(original)
    def register(self: Any, targets: list[dict[str, Any]]) -> None:
        found = (self.ec2_backend.get_instance_by_id(target["Id"]) for target in targets if _for_group.get())
        pending = [instance for instance in found if instance is not None and instance.state == "pending"]
        for instance in pending:
            instance._state = InstanceState("running", 16)
        try:
            original(self, targets)
        finally:
            for instance in pending:
                instance._state = InstanceState("pending", 0)

    return register


def install() -> None:
    """Lay the rules over moto's groups."""
    rules: tuple[tuple[type, str, Any], ...] = (
        (
            AutoScalingBackend,
            "update_attached_target_groups",
            _update_targets(AutoScalingBackend.update_attached_target_groups),
        ),
        (FakeTargetGroup, "register", _register(FakeTargetGroup.register)),
    )
    for owner, name, rule in rules:
        setattr(owner, name, rule)
