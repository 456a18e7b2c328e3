"""Auto Scaling groups: what moto takes for granted because its instances run at once and there is room for them.

A group takes what there is room for and goes on trying; a member that ends by itself, or that somebody calls unhealthy,
is replaced. What a group did is told by DescribeScalingActivities. Changes moto's records and nothing else.
"""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ec2.models.instances import InstanceState
from moto.elbv2.models import FakeTargetGroup

from . import shortage
from .launch_rules import of_version, tolerant
from .records import backends

log = logging.getLogger(__name__)

_ACTIVITIES, _MISSING, _PAUSE = "oblako_activities", "oblako_missing", "oblako_pause"
"""Attributes of a group: what it did, newest first; members that there was no room for; (not before, seconds)."""
_ACTIVITIES_KEPT = 100
_ENDED = ("stopping", "stopped", "shutting-down", "terminated")
"""States of a member that is unhealthy at once (Auto Scaling user guide, Health checks)."""
_YOUNG, _LONGEST_PAUSE = 60.0, 300.0
"""Seconds: a member that ended sooner makes its group wait longer each time, up to that."""

_ENDS = "oblako_ends"
"""Attribute of a member that was called unhealthy: when it is taken out of service, in seconds since the epoch."""
_NOTICED = 1.0
"""Seconds until a group acts upon SetInstanceHealth: AWS's takes a moment, too, in which Unhealthy is seen."""

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


# -- launches and activities ------------------------------------------------------------------------------


def _note(group: Any, description: str, cause: str, failure: str = "") -> None:
    """One line of DescribeScalingActivities."""
    now = utcnow()
    activity = {
        "ActivityId": str(uuid.uuid4()),
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "Description": description,
        "Cause": cause,
        "StartTime": now,
        "EndTime": now,
        "StatusCode": "Failed" if failure else "Successful",
        "Progress": 100,
    }
    if failure:
        activity["StatusMessage"] = failure
    activities = vars(group).setdefault(_ACTIVITIES, [])
    if failure and activities and activities[0]["StatusCode"] == "Failed":
        activity["StartTime"] = activities.pop(0)["StartTime"]  # it goes on trying: one line for all of it
    activities.insert(0, activity)
    del activities[_ACTIVITIES_KEPT:]


def _launch(original: Callable[..., None]) -> Callable[..., None]:
    """A group stays below its desired capacity where there is no room, and the failure is an activity of its own."""

    @functools.wraps(original)
    def replace_autoscaling_group_instances(self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
        before = list(self.instance_states)
        version = self.launch_template_version if self.ec2_launch_template else None
        with tolerant() as missing, of_version(version):
            original(self, count_needed, propagated_tags)
        new = [member.instance for member in self.instance_states if member not in before]
        cause = f"The group needed {count_needed} more instances to have its desired capacity."
        for instance in new:
            _note(self, f"Launching a new EC2 instance: {instance.id}", cause)
        setattr(self, _MISSING, count_needed - len(new) if missing else 0)
        if missing:
            failure = f"{missing[0]} Launching EC2 instance failed."
            _note(self, f"Launching a new EC2 instance.  Status Reason: {failure}", cause, failure)

    return replace_autoscaling_group_instances


def _describe_activities(self: Any) -> ActionResult:
    """DescribeScalingActivities, newest first; moto knows none."""
    name, ids = self._get_param("AutoScalingGroupName"), self._get_param("ActivityIds", [])
    found = [
        activity
        for group in self.autoscaling_backend.autoscaling_groups.values()
        for activity in vars(group).get(_ACTIVITIES, [])
        if name in (None, group.name) and (not ids or activity["ActivityId"] in ids)
    ]
    found.sort(key=lambda activity: activity["StartTime"], reverse=True)
    start, most = int(self._get_param("NextToken") or 0), int(self._get_param("MaxRecords") or _ACTIVITIES_KEPT)
    more = str(start + most) if start + most < len(found) else None
    return ActionResult({"Activities": found[start : start + most], "NextToken": more})


# -- health -----------------------------------------------------------------------------------------------


def all_groups() -> Iterator[Any]:
    """Every group of every account and region."""
    for backend in backends(autoscaling_backends):
        yield from list(backend.autoscaling_groups.values())


def _create_group(original: Callable[..., Any]) -> Callable[..., Any]:
    """A group's grace period is none where none was asked for (CreateAutoScalingGroup); moto's is five minutes."""

    @functools.wraps(original)
    def create_auto_scaling_group(self: Any, *args: Any, **kwargs: Any) -> Any:
        group = original(self, *args, **kwargs)
        if kwargs.get("health_check_period") is None:
            group.health_check_grace_period = 0
        return group

    return create_auto_scaling_group


def _member(backend: Any, instance_id: str) -> tuple[Any, Any]:
    """The group and the member that an instance is."""
    for group in backend.autoscaling_groups.values():
        for member in group.instance_states:
            if member.instance.id == instance_id:
                return group, member
    raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")


def _set_health(self: Any) -> ActionResult:
    """SetInstanceHealth: the group replaces a member that is called Unhealthy; moto takes a note of it."""
    status = self._get_param("HealthStatus")
    if status not in ("Healthy", "Unhealthy"):
        raise ValidationError(
            f"Invalid health status: {status}. Valid instance health states are: [Healthy, Unhealthy]."
        )
    group, member = _member(self.autoscaling_backend, self._get_param("InstanceId"))
    member.health_status = status
    vars(member).pop(_ENDS, None)
    if status == "Unhealthy":
        grace = group.health_check_grace_period if self._get_bool_param("ShouldRespectGracePeriod", True) else 0
        setattr(member, _ENDS, time.time() + max(_NOTICED, grace - _age(member.instance)))
    return EmptyResult()


def _age(instance: Any) -> float:
    """Seconds since its launch."""
    return float((utcnow() - instance.launch_time.replace(tzinfo=None)).total_seconds())


def _replace(group: Any, dead: list[Any]) -> None:
    for member in dead:
        instance = member.instance
        cause = f"An instance was taken out of service because it is {instance.state}: {instance.state_reason.message}"
        if instance.state not in _ENDED:
            cause = "An instance was taken out of service in response to a user health-check."
        _note(group, f"Terminating EC2 instance: {instance.id}", cause)
        if instance.state not in ("shutting-down", "terminated"):
            instance.terminate()  # protection against TerminateInstances does not keep a group from it
    group.instance_states = [member for member in group.instance_states if member not in dead]


def _mend(group: Any, now: float) -> tuple[bool, float | None]:
    """(whether it has launched or ended anything, when to look at it again)."""
    suspended = set(group._suspended_processes)
    serving = [member for member in group.instance_states if member.lifecycle_state == "InService"]
    dead = [member for member in serving if member.instance.state in _ENDED]
    if "HealthCheck" in suspended:
        dead = []
    for member in dead:
        member.health_status = "Unhealthy"
    told = {member: vars(member)[_ENDS] for member in serving if _ENDS in vars(member) and member not in dead}
    if suspended & {"ReplaceUnhealthy", "Terminate", "Launch"}:
        dead, told = [], {}
    due = min((when for when in told.values() if when > now), default=None)
    young = any(_age(member.instance) < _YOUNG for member in dead)
    dead += [member for member, when in told.items() if when <= now]
    wanting = 0 if "Launch" in suspended else vars(group).get(_MISSING, 0)
    wanting = min(wanting, (group.desired_capacity or 0) - len(group.active_instances()))
    if not dead and wanting <= 0:
        return False, due
    not_before, pause = vars(group).get(_PAUSE, (0.0, 0.0))
    if now < not_before:
        return False, not_before
    if dead:
        pause = min(max(2 * pause, 2.0), _LONGEST_PAUSE) if young else 0.0
        setattr(group, _PAUSE, (now + pause, pause))
        _replace(group, dead)
    count = len(group.instance_states)
    needed = len(dead) + max(wanting, 0)
    try:
        group.replace_autoscaling_group_instances(needed, group.get_propagated_tags())
        group.autoscaling_backend.update_attached_elbs(group.name)
        group.autoscaling_backend.update_attached_target_groups(group.name)
    except Exception as error:
        # Nobody waits for an answer: the group says it, and tries again after a while.
        log.warning("the group %s can't launch", group.name, exc_info=True)
        failure = f"{getattr(error, 'message', None) or error} Launching EC2 instance failed."
        _note(group, f"Launching a new EC2 instance.  Status Reason: {failure}", "A member was replaced.", failure)
        pause = min(max(2 * pause, 2.0), _LONGEST_PAUSE)
        setattr(group, _MISSING, needed)
        setattr(group, _PAUSE, (now + pause, pause))
        return bool(dead), now + pause
    return bool(dead) or len(group.instance_states) > count, due


def dissolve() -> None:
    """Forget all groups: at a reset nobody is to replace the members that go; call with moto's lock held."""
    for backend in backends(autoscaling_backends):
        backend.autoscaling_groups.clear()


def mend() -> tuple[bool, float | None]:
    """Replace members that have ended, and launch what there was no room for; call with moto's lock held.

    Returns
    -------
    (bool, float or None)
        Whether records of instances were changed; the seconds after which to call again.
    """
    now, changed, later = time.time(), False, list[float]()
    for group in all_groups():
        done, due = _mend(group, now)
        changed |= done
        if due is not None:
            later.append(due - now)
    for backend in backends():
        for request in list(backend.spot_instance_requests.values()):
            changed |= shortage.try_again(request)
    return changed, min(later, default=None)


def install() -> None:
    """Lay the rules over moto's groups."""
    rules: tuple[tuple[type, str, Any], ...] = (
        (
            FakeAutoScalingGroup,
            "replace_autoscaling_group_instances",
            _launch(FakeAutoScalingGroup.replace_autoscaling_group_instances),
        ),
        (AutoScalingResponse, "describe_scaling_activities", _describe_activities),
        (AutoScalingResponse, "set_instance_health", _set_health),
        (
            AutoScalingBackend,
            "create_auto_scaling_group",
            _create_group(AutoScalingBackend.create_auto_scaling_group),
        ),
        (
            AutoScalingBackend,
            "update_attached_target_groups",
            _update_targets(AutoScalingBackend.update_attached_target_groups),
        ),
        (FakeTargetGroup, "register", _register(FakeTargetGroup.register)),
    )
    for owner, name, rule in rules:
        setattr(owner, name, rule)
