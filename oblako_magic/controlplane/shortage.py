"""Fleets and spot requests where there is not room for all: they take what there is and say what is missing.

Laid over moto, whose fleets and requests know no launch that fails. Auto Scaling groups: ``groups``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from moto.ec2.models.fleets import Fleet
from moto.ec2.models.spot_requests import SpotFleetRequest, SpotInstanceRequest, SpotRequestBackend
from moto.ec2.responses.fleets import Fleets

from . import capacity
from .launch_rules import tolerant

_ERRORS = "oblako_errors"
"""Attribute of a fleet: what CreateFleet answers as Errors."""
_NO_CAPACITY = ("capacity-not-available", "There is no Spot capacity available that matches your request.")
"""Code and message of an open request (EC2 user guide, Spot request status codes)."""


def _launch(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def launch_instance(self: Any) -> Any:
        with tolerant() as missing:
            try:
                return original(self)
            except IndexError:  # of a reservation without an instance
                if not missing:
                    raise
                return None

    return launch_instance


def _request(original: Callable[..., None]) -> Callable[..., None]:
    """A spot request without capacity stays open (RequestSpotInstances; user guide, Spot request status)."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if self.instance is None:
            self.state, (self._status_code, self.status_message) = "open", _NO_CAPACITY

    return __init__


def try_again(request: Any) -> bool:
    """Launch what an open spot request waits for, where there is room now; whether it was and there is."""
    if request.instance is not None:
        return False
    request.instance = request.launch_instance()
    if request.instance is not None:
        request.state, request._status_code, request.status_message = "active", "fulfilled", ""
    return request.instance is not None


def _requests(original: Callable[..., Any]) -> Callable[..., Any]:
    """A fleet's requests are its instances: what could not be launched is none of them."""

    @functools.wraps(original)
    def request_spot_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        if not kwargs.get("spot_fleet_id"):
            return made
        for request in made:
            if request.instance is None:
                del self.spot_instance_requests[request.id]
        return [request for request in made if request.instance is not None]

    return request_spot_instances


def _weight(fleet: Any, instance: Any) -> float:
    same = (spec.weighted_capacity for spec in fleet.launch_specs if spec.instance_type == instance.instance_type)
    return next(same, 1.0)


def _instances(fleet: Any) -> list[Any]:
    return [request.instance for request in fleet.spot_requests] + [
        item["instance"] for item in getattr(fleet, "on_demand_instances", [])
    ]


def _fill(original: Callable[[Any, float], Any], lifecycle: str) -> Callable[[Any, float], Any]:
    """Moto counts what it asked for as fulfilled."""

    @functools.wraps(original)
    def create(self: Any, weight_to_add: float) -> Any:
        before, fulfilled = _instances(self), self.fulfilled_capacity
        with tolerant() as missing:
            result = original(self, weight_to_add)
        if missing:
            new = [instance for instance in _instances(self) if instance not in before]
            self.fulfilled_capacity = fulfilled + sum(_weight(self, instance) for instance in new)
            errors = vars(self).setdefault(_ERRORS, {})
            errors.setdefault(lifecycle, missing[0])
        return result

    return create


def _create_fleet(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """CreateFleet of type instant answers what could not be launched in Errors, beside what could."""

    @functools.wraps(original)
    def create_fleet(self: Any) -> Any:
        answer = original(self)
        fleet = self.ec2_backend.get_fleet(answer.result["FleetId"])
        if fleet.fleet_type == "instant":
            answer.result["Errors"] = [
                {"Lifecycle": lifecycle, "ErrorCode": capacity.SHORT, "ErrorMessage": text}
                for lifecycle, text in vars(fleet).get(_ERRORS, {}).items()
            ]
        return answer

    return create_fleet


def install() -> None:
    """Lay the rules over moto, after ``launch_rules.install``. Once a process."""
    instance_id = property(lambda self: self.instance.id if self.instance is not None else None)
    rules: list[tuple[type, str, Any]] = [
        (SpotInstanceRequest, "launch_instance", _launch(SpotInstanceRequest.launch_instance)),
        (SpotInstanceRequest, "__init__", _request(SpotInstanceRequest.__init__)),
        (SpotInstanceRequest, "instance_id", instance_id),
        (SpotRequestBackend, "request_spot_instances", _requests(SpotRequestBackend.request_spot_instances)),
        (SpotFleetRequest, "create_spot_requests", _fill(SpotFleetRequest.create_spot_requests, "spot")),
        (Fleet, "create_spot_requests", _fill(Fleet.create_spot_requests, "spot")),
        (Fleet, "create_on_demand_requests", _fill(Fleet.create_on_demand_requests, "on-demand")),
        (Fleets, "create_fleet", _create_fleet(Fleets.create_fleet)),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
