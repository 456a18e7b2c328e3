"""What EC2 keeps and changes of an instance after its launch: attributes, states, words.

Changes moto's records and nothing else; the loop follows them.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from typing import Any

from moto.core.responses import EmptyResult
from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.instances import InstanceResponse

from . import capacity
from .instance_calls import check_user_data
from .launch_rules import BEHAVIORS
from .templates import truth

_STOPPED_ONLY = {"instance_type", "user_data", "kernel", "ramdisk", "ebs_optimized", "sriov_net_support", "ena_support"}
"""Attributes that EC2 changes of stopped instances alone (API reference, ModifyInstanceAttribute)."""
_FLAGS = {"disable_api_termination", "disable_api_stop", "ebs_optimized", "source_dest_check", "ena_support"}
_BEHAVIOR = "instance_initiated_shutdown_behavior"
_INTERNAL = {"iam_instance_profile"}
"""What moto's own associations of instance profiles set by the same method; no client can name it."""
_OTHERS = ("InstanceInitiatedShutdownBehavior", "Ramdisk", "SriovNetSupport", "EnaSupport")
"""Attributes of ModifyInstanceAttribute that moto's handler does not know: it would take the groups away instead."""
_KNOWN = (
    *("InstanceType", "Kernel", "UserData", "DisableApiTermination", "SourceDestCheck", "EbsOptimized"),
    *("DisableApiStop", *_OTHERS),
)


# -- attributes -------------------------------------------------------------------------------------------


def _no_attribute(name: str) -> EC2ClientError:
    return EC2ClientError("InvalidParameterValue", f"Value ({name}) for parameter attribute is invalid.")


def _modify(original: Callable[..., Any], strict: bool) -> Callable[..., Any]:
    """The backend's ``modify_instance_attribute``; moto would set whatever it is told on its record."""

    @functools.wraps(original)
    def modify_instance_attribute(self: Any, instance_id: str, key: str, value: Any) -> Any:
        instance = self.get_instance(instance_id)
        if key in _INTERNAL:
            return original(self, instance_id, key, value)
        if key not in _STOPPED_ONLY | _FLAGS | {_BEHAVIOR}:
            raise _no_attribute(key)
        if key in _STOPPED_ONLY and instance.state != "stopped":
            raise EC2ClientError(
                "IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state."
            )
        if key == "instance_type" and strict and value not in INSTANCE_TYPES:
            raise EC2ClientError("InvalidInstanceAttributeValue", f"Invalid value '{value}' for InstanceType.")
        if key == _BEHAVIOR and value not in BEHAVIORS:
            raise EC2ClientError(
                "InvalidParameterValue", f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid."
            )
        return original(self, instance_id, key, truth(value) if key in _FLAGS else value)

    return modify_instance_attribute


def _user_data(value: Any) -> str:
    """User data in base64 once: SDKs encode it on the wire, moto has decoded that and wants it encoded all the same."""
    raw = value if isinstance(value, bytes) else str(value).encode()
    try:
        base64.b64decode(raw, validate=True)
    except binascii.Error:
        return base64.b64encode(raw).decode()
    return raw.decode()


def _modify_request(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def modify_instance_attribute(self: Any) -> Any:
        backend = self.ec2_backend
        instance = backend.get_instance(self._get_param("InstanceId"))
        attribute = str(self._get_param("Attribute") or "")
        if camelcase_to_underscores(attribute) in _INTERNAL:
            raise _no_attribute(attribute)
        several = [name for name in _KNOWN if self._get_param(f"{name}.Value") is not None]
        several += [name for name in ("Groups", "BlockDeviceMappings") if self._get_param(name, [])]
        if len(several) > 1:
            named = ", ".join(sorted(name[0].lower() + name[1:] for name in several))
            raise InvalidParameterCombination(f"Fields for multiple attribute types specified: {named}")
        for name in _OTHERS:
            value = self._get_param(f"{name}.Value")
            if value is not None:
                backend.modify_instance_attribute(instance.id, camelcase_to_underscores(name), value)
                return EmptyResult()
        data = self._get_param("UserData.Value")
        if data:
            check_user_data(_user_data(data))
            self.params["UserData"] = {"Value": _user_data(data)}
        for mapping in self._get_param("BlockDeviceMappings", []):
            if mapping.get("DeviceName") not in instance.block_device_mapping:
                raise EC2ClientError(
                    "InvalidInstanceAttributeValue", f"No device is currently mapped at {mapping.get('DeviceName')}"
                )
        groups = self._get_param("Groups", [])
        for group in groups:
            if backend.get_security_group_from_id(group) is None:
                raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        if not (
            groups
            or self._get_param("Attribute")
            or self._get_param("BlockDeviceMappings", [])
            or any(self._get_param(f"{name}.Value") is not None for name in _KNOWN)
        ):
            raise InvalidParameterCombination("No attributes specified.")
        return original(self)

    return modify_instance_attribute


# -- states -----------------------------------------------------------------------------------------------


def _start(original: Callable[..., Any], limit: capacity.Limit) -> Callable[..., Any]:
    """A start needs room as a launch does (EC2 user guide, InsufficientInstanceCapacity)."""

    @functools.wraps(original)
    def start_instances(self: Any, instance_ids: list[str]) -> Any:
        stopped = [one for one in self.get_multi_instances_by_id(instance_ids) if one.state == "stopped"]
        capacity.check(limit(), [one.instance_type for one in stopped])
        return original(self, instance_ids)

    return start_instances


def _current(original: Callable[[Any], Any], key: str, settled: tuple[str, ...]) -> Callable[[Any], Any]:
    """What was there already is no transition: AWS answers the state that holds, moto always the transition."""

    @functools.wraps(original)
    def change(self: Any) -> Any:
        result = original(self)
        for row in result.result[key]:
            before = row["PreviousState"]
            if before.name in settled:
                row["CurrentState"] = {"Code": before.code, "Name": before.name}
        return result

    return change


# -- words ------------------------------------------------------------------------------------------------


def _in_gmt(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """StateTransitionReason as AWS writes it: ``User initiated (2026-01-01 12:00:00 GMT)``."""

    @functools.wraps(original)
    def change(self: Any) -> Any:
        previous = original(self)
        self._reason = str(self._reason or "").replace(" UTC)", " GMT)")
        return previous

    return change


def _attach(original: Callable[..., Any]) -> Callable[..., Any]:
    """A volume is at one instance, and a device has one volume (API reference, AttachVolume)."""

    @functools.wraps(original)
    def attach_volume(self: Any, volume_id: str, instance_id: str, device_path: str, *args: Any, **kwargs: Any) -> Any:
        if self.get_volume(volume_id).attachment:
            raise EC2ClientError("VolumeInUse", f"{volume_id} is already attached to an instance")
        if device_path in self.get_instance(instance_id).block_device_mapping:
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Invalid value '{device_path}' for unixDevice. Attachment point {device_path} is already in use",
            )
        return original(self, volume_id, instance_id, device_path, *args, **kwargs)

    return attach_volume


def _detach(original: Callable[..., Any]) -> Callable[..., Any]:
    """The instance need not be named (API reference, DetachVolume): a volume is at one, or at none."""

    @functools.wraps(original)
    def detach_volume(self: Any, volume_id: str, instance_id: str | None, device_path: str) -> Any:
        attachment = self.get_volume(volume_id).attachment
        if instance_id is None:
            if attachment is None:
                raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
            instance_id = attachment.instance.id
        return original(self, volume_id, instance_id, device_path)

    return detach_volume


def install(strict: bool, limit: capacity.Limit) -> None:
    """Lay the rules over moto, after ``semantics.install``. Once a process."""
    rules: list[tuple[type, str, Any]] = [
        (InstanceBackend, "start_instances", _start(InstanceBackend.start_instances, limit)),
        (InstanceBackend, "modify_instance_attribute", _modify(InstanceBackend.modify_instance_attribute, strict)),
        (
            InstanceResponse,
            "modify_instance_attribute",
            _modify_request(InstanceResponse.modify_instance_attribute),
        ),
        (
            InstanceResponse,
            "start_instances",
            _current(InstanceResponse.start_instances, "StartingInstances", ("pending", "running")),
        ),
        (
            InstanceResponse,
            "stop_instances",
            _current(InstanceResponse.stop_instances, "StoppingInstances", ("stopping", "stopped")),
        ),
        (
            InstanceResponse,
            "terminate_instances",
            _current(InstanceResponse.terminate_instances, "TerminatingInstances", ("shutting-down", "terminated")),
        ),
        (EBSBackend, "detach_volume", _detach(EBSBackend.detach_volume)),
        (Instance, "stop", _in_gmt(Instance.stop)),
        (Instance, "terminate", _in_gmt(Instance.terminate)),
    ]
    if strict:
        rules.append((EBSBackend, "attach_volume", _attach(EBSBackend.attach_volume)))
    for owner, name, rule in rules:
        setattr(owner, name, rule)
