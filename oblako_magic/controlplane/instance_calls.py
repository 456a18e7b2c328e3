"""Calls about an instance that moto lacks or answers otherwise than EC2: monitoring, metadata options, CPU credits,
attributes that it does not show, ids and states that it does not look at.

Changes moto's records and nothing else.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError, InvalidInstanceIdError
from moto.ec2.models.elastic_block_store import VolumeAttachment
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.elastic_ip_addresses import ElasticIPAddresses
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ec2.responses.monitoring import Monitoring

_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_OVER = ("shutting-down", "terminated")
USER_DATA_LIMIT = 16 << 10
"""Bytes that user data may have before it is encoded (EC2 user guide, "Run commands at launch")."""
_METADATA = {
    "HttpTokens": ("http_tokens", ("optional", "required")),
    "HttpEndpoint": ("http_endpoint", ("enabled", "disabled")),
    "HttpProtocolIpv6": ("http_protocol_ipv6", ("enabled", "disabled")),
    "InstanceMetadataTags": ("instance_metadata_tags", ("enabled", "disabled")),
}
"""Option to (attribute of moto's record, values) (API reference, ModifyInstanceMetadataOptions)."""
_HOPS = 64


# -- checks -----------------------------------------------------------------------------------------------


def check_metadata_options(given: dict[str, Any]) -> None:
    """Refuse values that there are not, at launch and later.

    Raises
    ------
    EC2ClientError
    """
    for name, (_, allowed) in _METADATA.items():
        if given.get(name) and given[name] not in allowed:
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Value ({given[name]}) for parameter {name} is invalid. Valid values are: {', '.join(allowed)}",
            )
    hops = given.get("HttpPutResponseHopLimit")
    if hops is not None and not 1 <= int(hops) <= _HOPS:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. It must be from 1 to {_HOPS}.",
        )


def check_user_data(given: Any) -> None:
    """Refuse user data of more than 16 KB.

    Raises
    ------
    EC2ClientError
    """
    raw = given if isinstance(given, bytes) else str(given or "").encode()
    try:
        raw = base64.b64decode(raw, validate=True)
    except ValueError:
        pass  # not encoded
    if len(raw) > USER_DATA_LIMIT:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")


def _alive(instance: Any) -> None:
    """What is over can't be changed any more (EC2 API error codes)."""
    if instance.state in _OVER:
        raise EC2ClientError(
            "IncorrectInstanceState", f"The instance '{instance.id}' is in the '{instance.state}' state."
        )


def _living(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A request that is for instances which still are."""

    @functools.wraps(original)
    def change(self: Any) -> Any:
        instance_id = self._get_param("InstanceId")
        if instance_id:
            _alive(self.ec2_backend.get_instance(instance_id))
        return original(self)

    return change


def _named(original: Callable[..., Any]) -> Callable[..., Any]:
    """What can be no id is told from what is none; and all are told that are not there (EC2 API error codes)."""

    @functools.wraps(original)
    def find(self: Any, instance_ids: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, instance_ids, *args, **kwargs)
        except InvalidInstanceIdError:
            asked = [instance_ids] if isinstance(instance_ids, str) else list(instance_ids or [])
            for one in asked:
                if not _ID.fullmatch(str(one)):
                    hint = "" if str(one).startswith("i-") else ' (expecting "i-...")'
                    raise EC2ClientError("InvalidInstanceID.Malformed", f'Invalid id: "{one}"{hint}') from None
            known = {one.id for reservation in self.all_reservations() for one in reservation.instances}
            missing = [one for one in dict.fromkeys(asked) if one not in known]
            raise InvalidInstanceIdError(missing or asked) from None

    return find


def _free_name(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A name has one AMI of an account (API reference, CreateImage and RegisterImage)."""

    @functools.wraps(original)
    def make(self: Any) -> Any:
        name, backend = self._get_param("Name"), self.ec2_backend
        for ami in backend.amis.values():
            if name and ami.name == name and ami.owner_id == backend.account_id:
                raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {ami.id}")
        return original(self)

    return make


# -- calls ------------------------------------------------------------------------------------------------


def _goes(attachment: Any) -> bool | None:
    """DeleteOnTermination of a volume's attachment, which DescribeVolumes tells, too."""
    device = attachment.instance.block_device_mapping.get(attachment.device)
    return None if device is None else bool(device.delete_on_termination)


def _monitoring(state: str, changing: str) -> Callable[[Any], Any]:
    """MonitorInstances and UnmonitorInstances (API reference)."""

    def change(self: Any) -> Any:
        instances = self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", []))
        for instance in instances:
            _alive(instance)
        for instance in instances:
            instance.monitoring_state = state
        rows = [{"InstanceId": one.id, "Monitoring": {"State": changing}} for one in instances]
        return ActionResult({"InstanceMonitorings": rows})

    return change


def _metadata_options(self: Any) -> Any:
    """ModifyInstanceMetadataOptions: what is not named stays; moto sets it back."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    _alive(instance)
    given = {name: self._get_param(name) for name in (*_METADATA, "HttpPutResponseHopLimit")}
    check_metadata_options(given)
    if not any(value is not None for value in given.values()):
        raise EC2ClientError("MissingParameter", "The request must contain at least one metadata option")
    options = instance.metadata_options
    for name, (attribute, _) in _METADATA.items():
        if given[name]:
            setattr(options, attribute, given[name])
    if given["HttpPutResponseHopLimit"] is not None:
        options.http_put_response_hop_limit = int(given["HttpPutResponseHopLimit"])
    return ActionResult({"InstanceId": instance.id, "InstanceMetadataOptions": options})


def _describe_attribute(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """DescribeInstanceAttribute of what moto does not show; each instance has an answer to each attribute."""

    @functools.wraps(original)
    def describe_instance_attribute(self: Any) -> Any:
        attribute = self._get_param("Attribute")
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        more: dict[str, Callable[[], tuple[str, Any]]] = {
            "blockDeviceMapping": lambda: ("BlockDeviceMappings", instance.block_device_mappings),
            "enaSupport": lambda: ("EnaSupport", {"Value": instance.ena_support}),
            "enclaveOptions": lambda: ("EnclaveOptions", {"Enabled": False}),
        }
        if attribute in more:
            name, value = more[attribute]()
            return ActionResult({"InstanceId": instance.id, name: value})
        return original(self)

    return describe_instance_attribute


def _template_data(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """GetLaunchTemplateData with what the instance has, so that a template of it launches; moto fills in constants."""

    @functools.wraps(original)
    def get_launch_template_data(self: Any) -> Any:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        result = original(self)
        data = result.result["LaunchTemplateData"]
        for mapping, (name, _) in zip(data["BlockDeviceMappings"], instance.get_block_device_mapping, strict=True):
            mapping["DeviceName"] = name
        for given, nic in zip(data["NetworkInterfaces"], instance.nics.values(), strict=True):
            given["Groups"] = [group.id for group in nic.group_set]
            given["AssociatePublicIpAddress"] = bool(nic.public_ip)
            given["NetworkCardIndex"] = 0
        options = instance.metadata_options
        data["MetadataOptions"] = {
            **{name: getattr(options, attribute) for name, (attribute, _) in _METADATA.items()},
            "HttpPutResponseHopLimit": options.http_put_response_hop_limit,
        }
        data["HibernationOptions"] = instance.hibernation_options
        data["CreditSpecification"] = {"CpuCredits": _credits(instance)}
        if not instance.instance_type.startswith("t"):
            del data["CreditSpecification"]
        return result

    return get_launch_template_data


def _reset_attribute(self: Any) -> Any:
    """ResetInstanceAttribute: kernel and ramdisk of a stopped instance, and sourceDestCheck (API reference)."""
    backend, attribute = self.ec2_backend, self._get_param("Attribute")
    instance = backend.get_instance(self._get_param("InstanceId"))
    if attribute == "sourceDestCheck":
        backend.modify_instance_attribute(instance.id, "source_dest_check", True)
    elif attribute in ("kernel", "ramdisk"):
        backend.modify_instance_attribute(instance.id, attribute, None)
    else:
        raise EC2ClientError("InvalidParameterValue", f"Value ({attribute}) for parameter attribute is invalid.")
    return EmptyResult()


def _hibernate(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """StopInstances with Hibernate is for instances that were launched for it (API reference)."""

    @functools.wraps(original)
    def stop_instances(self: Any) -> Any:
        if str(self._get_param("Hibernate", False)).lower() == "true":
            for instance in self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", [])):
                if not instance.hibernation_options["Configured"]:
                    raise EC2ClientError(
                        "UnsupportedHibernationConfiguration",
                        f"The instance '{instance.id}' is not enabled for hibernation.",
                    )
        return original(self)

    return stop_instances


_NAMING = ("create_image", "register_image")
_CREDITS = "oblako_credits"
"""Attribute of an instance: CpuCredits that somebody chose."""
_UNLIMITED = ("t3.", "t3a.", "t4g.")
"""Families that are unlimited where nobody chose (EC2 user guide, "Unlimited mode")."""


def _credits(instance: Any) -> str:
    default = "unlimited" if instance.instance_type.startswith(_UNLIMITED) else "standard"
    return str(vars(instance).get(_CREDITS) or default)


def _describe_credits(self: Any) -> Any:
    """DescribeInstanceCreditSpecifications: of burstable types alone, by their families' defaults."""
    instance_ids, backend = self._get_param("InstanceIds", []), self.ec2_backend
    found = backend.get_multi_instances_by_id(instance_ids) if instance_ids else backend.all_instances()
    rows = [
        {"InstanceId": one.id, "CpuCredits": _credits(one)}
        for one in found
        if instance_ids or (one.instance_type.startswith("t") and _credits(one) == "unlimited")  # API reference
    ]
    return ActionResult({"InstanceCreditSpecifications": rows})


def _modify_credits(self: Any) -> Any:
    """ModifyInstanceCreditSpecification: what can't be changed is answered beside what was (API reference)."""
    good, bad = [], []
    known = {one.id: one for one in self.ec2_backend.all_instances()}
    for given in self._get_param("InstanceCreditSpecifications", []):
        instance_id, wanted = given.get("InstanceId"), given.get("CpuCredits")
        instance = known.get(instance_id)
        if instance is None:
            error = ("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        elif instance.state in _OVER:
            error = ("IncorrectInstanceState", f"The instance '{instance_id}' is in the '{instance.state}' state.")
        elif not instance.instance_type.startswith("t"):
            error = ("InstanceCreditSpecification.NotSupported", "The instance type has no CPU credits.")
        elif wanted not in ("standard", "unlimited"):
            raise EC2ClientError("InvalidParameterValue", f"Value ({wanted}) for parameter CpuCredits is invalid.")
        else:
            setattr(instance, _CREDITS, wanted)
            good.append({"InstanceId": instance_id})
            continue
        bad.append({"InstanceId": instance_id, "Error": {"Code": error[0], "Message": error[1]}})
    return ActionResult(
        {
            "SuccessfulInstanceCreditSpecifications": good,
            "UnsuccessfulInstanceCreditSpecifications": bad,
        }
    )


def install(strict: bool) -> None:
    """Lay the rules over moto, after ``instance_rules.install``. Once a process."""
    rules: list[tuple[type, str, Any]] = [
        (Monitoring, "monitor_instances", _monitoring("enabled", "pending")),
        (Monitoring, "unmonitor_instances", _monitoring("disabled", "disabling")),
        (InstanceResponse, "modify_instance_metadata_options", _metadata_options),
        (
            InstanceResponse,
            "describe_instance_attribute",
            _describe_attribute(InstanceResponse.describe_instance_attribute),
        ),
        (LaunchTemplates, "get_launch_template_data", _template_data(LaunchTemplates.get_launch_template_data)),
        (InstanceResponse, "reset_instance_attribute", _reset_attribute),
        (InstanceResponse, "stop_instances", _hibernate(InstanceResponse.stop_instances)),
        (InstanceResponse, "describe_instance_credit_specifications", _describe_credits),
        (InstanceResponse, "modify_instance_credit_specification", _modify_credits),
        *(
            (owner, name, _living(vars(owner)[name]))
            for owner, name in (
                (ElasticBlockStore, "attach_volume"),
                (ElasticNetworkInterfaces, "attach_network_interface"),
                (ElasticIPAddresses, "associate_address"),
                (InstanceResponse, "modify_instance_attribute"),
            )
        ),
    ]
    setattr(AmisResponse, "create_image", _living(AmisResponse.create_image))  # noqa: B010 - mypy: a method
    if strict:
        rules += [(AmisResponse, name, _free_name(getattr(AmisResponse, name))) for name in _NAMING]
        rules += [
            (InstanceBackend, name, _named(getattr(InstanceBackend, name)))
            for name in ("get_instance", "get_multi_instances_by_id", "get_reservations_by_instance_ids")
        ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
    VolumeAttachment.DeleteOnTermination = property(_goes)  # type: ignore[attr-defined]
