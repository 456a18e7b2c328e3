"""The EC2 rules that moto lacks, laid over moto's classes at start; moto's own files stay as they are.

Nothing here talks to an engine: the rules change moto's records, the loop follows them.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from moto.core.common_models import BaseModel
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination
from moto.ec2.models import EC2Backend, amis
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.spot_fleets import SpotFleets
from moto.ssm.models import Parameter, ParameterDict, ssm_backends

from .. import catalog
from ..model import Backing
from .store import remember_pristine

log = logging.getLogger(__name__)

IMAGE_ATTRIBUTE = "oblako_image"
"""Attribute of an AMI: the container image that somebody registered it with."""
_RESOLVE = "resolve:ssm:"
_ROOT_DEVICE, _ROOT_SIZE = "/dev/sda1", 8
"""Of AMIs that tell none; the size in GiB."""

console_output: ContextVar[str] = ContextVar("console_output", default="")
"""The console text of the instance that the current GetConsoleOutput asks for."""


class IncorrectInstanceState(EC2ClientError):
    """The instance is not in a state that allows the action (EC2 API error codes)."""

    def __init__(self, instance_id: str, verb: str) -> None:
        super().__init__(
            "IncorrectInstanceState", f"The instance '{instance_id}' is not in a state from which it can be {verb}."
        )


def backing(instance: Any) -> Backing:
    """What the control plane keeps of an instance; made on first sight."""
    found = vars(instance).get("oblako")
    if found is None:
        found = Backing(written="")
        instance.oblako = found
    return found  # type: ignore[no-any-return]


def ami_for(backend: Any, image_id: str | None) -> str | None:
    """The AMI id for what a client gave as ImageId.

    ``resolve:ssm:NAME`` is looked up, as RunInstances does it; what is no AMI id is the name of a container
    image and becomes an AMI of its own, so that every later description shows a proper id.
    """
    if not image_id:
        return image_id
    # CloudFormation writes the same reference in braces.
    image_id = image_id.removeprefix("{{").removesuffix("}}")
    if image_id.startswith(_RESOLVE):
        parameters = ssm_backends[backend.account_id][backend.region_name]._parameters
        versions = parameters[image_id[len(_RESOLVE) :]]
        if not versions:
            raise EC2ClientError(
                "InvalidParameterValue", f"The parameter '{image_id[len(_RESOLVE) :]}' could not be resolved."
            )
        return str(versions[-1].value)
    if catalog.is_ami_id(image_id):
        return image_id
    ami_id = catalog.image_ami_id(image_id)
    if ami_id not in backend.amis:
        backend.amis[ami_id] = amis.Ami(
            backend, ami_id, name=image_id, image_location=image_id, virtualization_type="hvm"
        )
        backend.amis[ami_id].architecture = "x86_64"
        setattr(backend.amis[ami_id], IMAGE_ATTRIBUTE, image_id)
    return ami_id


def _fill_in_subnet(backend: Any, kwargs: dict[str, Any]) -> None:
    """Without SubnetId the default subnet of the zone is meant; moto would take an address outside of any."""
    nics = kwargs.get("nics") or []
    if kwargs.get("subnet_id") or any(nic.get("NetworkInterfaceId") or nic.get("SubnetId") for nic in nics):
        return
    subnets = backend.get_default_subnets()
    zone = kwargs.get("placement") or f"{backend.region_name}a"
    subnet = subnets.get(zone) or (None if kwargs.get("placement") else next(iter(subnets.values()), None))
    if subnet is None:
        return  # moto's own error says what is missing
    kwargs["subnet_id"] = subnet.id
    if kwargs.get("associate_public_ip") is None or "associate_public_ip" not in kwargs:
        kwargs["associate_public_ip"] = True  # a default subnet gives public addresses (VPC user guide)


def _root_device(backend: Any, image_id: str | None) -> str:
    return getattr(backend.amis.get(image_id), "root_device_name", None) or _ROOT_DEVICE


def _block_devices(backend: Any, image_id: str | None, kwargs: dict[str, Any]) -> None:
    """Take the block devices of the launch template or configuration where the request has none, with AWS's defaults.

    A volume that is made at launch goes with its instance unless somebody said otherwise, the root volume and, by API
    and CLI, a data volume, too (EC2 user guide, "Preserve data when an instance is terminated").
    """
    if "block_device_mappings" not in kwargs:
        template, config = kwargs.get("launch_template"), kwargs.get("launch_config")
        found: Any = None
        if template:
            found = backend._get_template_from_args(template).data.get("BlockDeviceMappings")
        elif config:
            found = config.block_device_mapping_dict
        mappings = [copy.deepcopy(mapping) for mapping in found or [] if mapping.get("Ebs")]
        if mappings:
            kwargs["block_device_mappings"] = mappings
    root = _root_device(backend, image_id)
    for mapping in kwargs.get("block_device_mappings") or []:
        if not isinstance(mapping.get("Ebs"), dict):
            continue
        mapping["Ebs"].setdefault("DeleteOnTermination", True)
        if mapping.get("DeviceName") == root and not mapping["Ebs"].get("SnapshotId"):
            mapping["Ebs"]["VolumeSize"] = mapping["Ebs"].get("VolumeSize") or _ROOT_SIZE


def _parse_block_devices(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What a request leaves out has the device's default: moto fills in False, and wants a size for a root volume."""

    @functools.wraps(original)
    def parse(self: Any) -> Any:
        template = {"launch_template": self._get_param("LaunchTemplate")}
        image_id = self._get_param("ImageId") or _template_image(self.ec2_backend, template)
        root = _root_device(self.ec2_backend, ami_for(self.ec2_backend, image_id))
        for given in self._get_param("BlockDeviceMappings", []):
            if given.get("DeviceName") == root and given.get("Ebs") and not given["Ebs"].get("SnapshotId"):
                given["Ebs"].setdefault("VolumeSize", _ROOT_SIZE)
        mappings = original(self)
        for given, mapping in zip(self._get_param("BlockDeviceMappings", []), mappings, strict=True):
            if "DeleteOnTermination" not in (given.get("Ebs") or {}):
                mapping["Ebs"].pop("DeleteOnTermination", None)
        return mappings

    return parse


def _add_root(self: Any) -> None:
    """The root volume by the AMI's own device name; moto's is always /dev/sda1."""
    self.add_block_device(_ROOT_SIZE, self.root_device_name or _ROOT_DEVICE, None, False, True, None, None)


def _ensure_root(instance: Any) -> str:
    """The id of the instance's root volume; made where the request named other devices only."""
    device = instance.root_device_name or _ROOT_DEVICE
    if device not in instance.block_device_mapping:
        _add_root(instance)
    return str(instance.block_device_mapping[device].volume_id)


def _run_request(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """RunInstances launches MaxCount where there is room for it, and here there is; moto launches MinCount."""

    @functools.wraps(original)
    def run_instances(self: Any) -> Any:
        least = int(self._get_param("MinCount", 1))
        most = int(self._get_param("MaxCount", least))
        if least < 1:
            raise EC2ClientError(
                "InvalidParameterValue", f"Value ({least}) for parameter minCount is invalid. It must be at least 1."
            )
        if most < least:
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Value ({most}) for parameter maxCount is invalid. It must not be less than minCount ({least}).",
            )
        self.params["MinCount"] = most
        return original(self)

    return run_instances


def _template_image(backend: Any, kwargs: dict[str, Any]) -> str | None:
    """The image that the request's launch template names."""
    template = kwargs.get("launch_template")
    return backend._get_template_from_args(template).image_id if template else None


def _run_instances(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run_instances(
        self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Any:
        # Resolved before the launch: a launch template may name a parameter or a container image, too.
        image_id = ami_for(self, image_id or _template_image(self, kwargs)) or image_id
        _fill_in_subnet(self, kwargs)
        _block_devices(self, image_id, kwargs)
        reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
        for instance in reservation.instances:
            instance.oblako = Backing(root_volume_id=_ensure_root(instance))
            instance._state = InstanceState("pending", 0)
        return reservation

    return run_instances


def _start_instances(self: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
    instances = self.get_multi_instances_by_id(instance_ids)
    for instance in instances:
        if instance.state in ("terminated", "shutting-down", "stopping"):
            raise IncorrectInstanceState(instance.id, "started")
    changed = []
    for instance in instances:
        mine = backing(instance)
        previous = InstanceState(instance.state, instance.state_code)
        if instance.state == "stopped":
            instance.start()
            instance.launch_time = utcnow()
        elif mine.impaired and mine.backed:
            # On EC2 a start of a running instance does nothing; here it is how a lost container comes back.
            mine.generation += 1
        changed.append((instance, previous))
    return changed


def _stop_instances(self: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
    from moto.ec2.exceptions import OperationDisableApiStopNotPermitted

    instances = self.get_multi_instances_by_id(instance_ids)
    for instance in instances:
        if instance.state in ("terminated", "shutting-down"):
            raise IncorrectInstanceState(instance.id, "stopped")
        if instance.state == "pending" and not backing(instance).started:
            raise EC2ClientError(
                "IncorrectInstanceState",
                f"Instance '{instance.id}' cannot be stopped as it has never reached the 'running' state.",
            )
        if instance.disable_api_stop is True:
            raise OperationDisableApiStopNotPermitted(instance.id)
    changed = []
    for instance in instances:
        previous = InstanceState(instance.state, instance.state_code)
        if instance.state not in ("stopped", "stopping"):
            instance.stop()
        changed.append((instance, previous))
    return changed


def _reboot_instances(self: Any, instance_ids: list[str]) -> list[Any]:
    instances = self.get_multi_instances_by_id(instance_ids)
    for instance in instances:
        if instance.state not in ("running", "pending"):
            raise IncorrectInstanceState(instance.id, "rebooted")
    for instance in instances:
        if instance.state == "running":
            backing(instance).reboots += 1
    return list(instances)


def _terminate_instances(self: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
    from moto.ec2.exceptions import OperationNotPermitted4

    # None is no fault here: a fleet or group that is deleted may have none left.
    instances = self.get_multi_instances_by_id(instance_ids)
    for instance in instances:
        if instance.disable_api_termination is True:
            raise OperationNotPermitted4(instance.id)
    changed = []
    for instance in instances:
        previous = InstanceState(instance.state, instance.state_code)
        if instance.state not in ("terminated", "shutting-down"):
            instance.terminate()
        changed.append((instance, previous))
    return changed


def _terminate_request(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def terminate_instances(self: Any) -> Any:
        if not self._get_param("InstanceIds"):
            raise InvalidParameterCombination("No instances specified")
        return original(self)

    return terminate_instances


def _request_spot_fleet(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """AllocationStrategy is optional (API reference, SpotFleetRequestConfigData); moto fails without it."""

    @functools.wraps(original)
    def request_spot_fleet(self: Any) -> Any:
        self._get_param("SpotFleetRequestConfig", {}).setdefault("AllocationStrategy", "lowestPrice")
        return original(self)

    return request_spot_fleet


def _fleet_of(instance: Any) -> Any:
    """The fleet or spot fleet that launched the instance; None where none did."""
    backend, key = instance.ec2_backend, instance._spot_fleet_id or instance._fleet_id
    return (backend.get_spot_fleet_request(key) or backend.get_fleet(key)) if key else None


def _terminate(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """CloudFormation swallows what a delete raises: the stack would be gone and the instance run on."""

    @functools.wraps(original)
    def terminate(self: Any) -> Any:
        previous = InstanceState(self.state, self.state_code)
        if self.state in ("terminated", "shutting-down"):
            return previous  # a second round would forget that its root volume is kept
        mine = backing(self)
        fleet = _fleet_of(self)
        capacity = fleet.fulfilled_capacity if fleet else 0
        try:
            original(self)
        except Exception:
            log.exception("moto's bookkeeping at the end of %s", self.id)
            self._state = InstanceState("terminated", 48)
        # By DeleteOnTermination, or because it was detached before, or lost its device to another one.
        root = self.ec2_backend.volumes.get(mine.root_volume_id)
        mine.root_kept = root is not None
        if root is not None and root.attachment and root.attachment.instance is self:
            root.attachment = None
        if fleet and fleet.fulfilled_capacity == capacity:
            # Moto looks for a specification of the instance's subnet, and most of them name none.
            same = (spec for spec in fleet.launch_specs if spec.instance_type == self.instance_type)
            fleet.fulfilled_capacity -= next((spec.weighted_capacity for spec in same), 1.0)
        return previous

    return terminate


def _status(self: Any) -> dict[str, Any]:
    """DescribeInstanceStatus: what the container really does."""
    if self.state_code != 16:
        return {"Status": "not-applicable"}
    failed = bool(backing(self).impaired)
    detail = {"Name": "reachability", "Status": "failed" if failed else "passed"}
    return {"Details": [detail], "Status": "impaired" if failed else "ok"}


def _register_image(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """RegisterImage with ImageLocation: any container image. Moto drops the parameter."""

    @functools.wraps(original)
    def register_image(self: Any) -> Any:
        result = original(self)
        location = self._get_param("ImageLocation")
        if location:
            ami = self.ec2_backend.amis[result.result["ImageId"]]
            ami.image_location = location
            setattr(ami, IMAGE_ATTRIBUTE, location)
        return result

    return register_image


def _get_console_output(self: Any) -> Any:
    from moto.core.responses import ActionResult

    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    text = Base64EncodedString.from_raw_string(console_output.get())
    return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": text})


def _parameters(original: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """The public parameters of the catalog's AMIs, beside Amazon Linux's that moto has."""

    @functools.wraps(original)
    def check(self: Any, key: str) -> None:
        original(self, key)
        if not str(key or "").startswith(("/aws/service/canonical", "/aws/service/debian")):
            return
        for ami in catalog.AMIS:
            if dict.__contains__(self, ami.parameter):
                continue
            dict.__setitem__(
                self,
                ami.parameter,
                [
                    Parameter(  # type: ignore[abstract]
                        account_id=self.account_id,
                        name=ami.parameter,
                        value=ami.ami_id,
                        parameter_type="String",
                        description=None,
                        allowed_pattern=None,
                        keyid=None,
                        last_modified_date=utcnow(),
                        version=1,
                        data_type="aws:ec2:image",
                    )
                ],
            )

    return check


def _new_backend(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        remember_pristine(self)

    return __init__


def install() -> None:
    """Lay the rules over moto. Once a process, before the first backend is made."""
    # Moto keeps every model object that was ever made, for its dashboard; a server that lives for weeks must not.
    BaseModel.__new__ = lambda cls, *args, **kwargs: object.__new__(cls)  # type: ignore[method-assign]
    amis.AMIS.extend(
        {
            "ami_id": ami.ami_id,
            "name": ami.name,
            "description": ami.description,
            "owner_id": ami.owner_id,
            "public": True,
            "virtualization_type": "hvm",
            "architecture": "x86_64",
            "state": "available",
            "image_type": "machine",
            "image_location": f"{ami.owner_id}/{ami.name}",
            "hypervisor": "xen",
            "root_device_type": "ebs",
            "root_device_name": "/dev/sda1",
            "sriov": "simple",
        }
        for ami in catalog.AMIS
    )
    rules: list[tuple[type, str, Any]] = [
        (EC2Backend, "__init__", _new_backend(EC2Backend.__init__)),
        (InstanceBackend, "run_instances", _run_instances(InstanceBackend.run_instances)),
        (InstanceBackend, "start_instances", _start_instances),
        (InstanceBackend, "stop_instances", _stop_instances),
        (InstanceBackend, "reboot_instances", _reboot_instances),
        (InstanceBackend, "terminate_instances", _terminate_instances),
        (Instance, "setup_defaults", _add_root),
        (Instance, "terminate", _terminate(Instance.terminate)),
        (Instance, "instance_status", property(_status)),
        (Instance, "system_status", property(_status)),
        (InstanceResponse, "run_instances", _run_request(InstanceResponse.run_instances)),
        (
            InstanceResponse,
            "_parse_block_device_mapping",
            _parse_block_devices(InstanceResponse._parse_block_device_mapping),
        ),
        (InstanceResponse, "terminate_instances", _terminate_request(InstanceResponse.terminate_instances)),
        (SpotFleets, "request_spot_fleet", _request_spot_fleet(SpotFleets.request_spot_fleet)),
        (AmisResponse, "register_image", _register_image(AmisResponse.register_image)),
        (General, "get_console_output", _get_console_output),
        (ParameterDict, "_check_loading_status", _parameters(ParameterDict._check_loading_status)),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
