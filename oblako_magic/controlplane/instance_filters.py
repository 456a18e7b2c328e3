"""The filters of DescribeInstances and DescribeInstanceStatus: every documented name, with AWS's wildcards.

Moto knows a sixth of the names, and wildcards for tags alone. A name stands for a path through the answer, and the
values are read off the record as moto's serializer reads them. Changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import moto.ec2.utils
from moto.core.responses import ActionResult
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import get_service_model
from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination
from moto.ec2.responses.instances import InstanceResponse

from .records import tags_of

_INTERFACE, _ADDRESS = "NetworkInterfaces", "NetworkInterfaces.PrivateIpAddresses"
_ASSOCIATION = {
    "carrier-ip": "CarrierIp",
    "customer-owned-ip": "CustomerOwnedIp",
    "ip-owner-id": "IpOwnerId",
    "public-dns-name": "PublicDnsName",
    "public-ip": "PublicIp",
}
_RESERVATION_TARGET = "CapacityReservationSpecification.CapacityReservationTarget"
PATHS = {
    "affinity": "Placement.Affinity",
    "architecture": "Architecture",
    "availability-zone": "Placement.AvailabilityZone",
    "availability-zone-id": "Placement.AvailabilityZoneId",
    "block-device-mapping.attach-time": "BlockDeviceMappings.Ebs.AttachTime",
    "block-device-mapping.delete-on-termination": "BlockDeviceMappings.Ebs.DeleteOnTermination",
    "block-device-mapping.device-name": "BlockDeviceMappings.DeviceName",
    "block-device-mapping.status": "BlockDeviceMappings.Ebs.Status",
    "block-device-mapping.volume-id": "BlockDeviceMappings.Ebs.VolumeId",
    "boot-mode": "BootMode",
    "capacity-reservation-id": "CapacityReservationId",
    "capacity-reservation-specification.capacity-reservation-preference": (
        "CapacityReservationSpecification.CapacityReservationPreference"
    ),
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id": (
        f"{_RESERVATION_TARGET}.CapacityReservationId"
    ),
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn": (
        f"{_RESERVATION_TARGET}.CapacityReservationResourceGroupArn"
    ),
    "client-token": "ClientToken",
    "current-instance-boot-mode": "CurrentInstanceBootMode",
    "dns-name": "PublicDnsName",
    "ebs-optimized": "EbsOptimized",
    "ena-support": "EnaSupport",
    "enclave-options.enabled": "EnclaveOptions.Enabled",
    "group-id": "SecurityGroups.GroupId",
    "group-name": "SecurityGroups.GroupName",
    "hibernation-options.configured": "HibernationOptions.Configured",
    "host-id": "Placement.HostId",
    "hypervisor": "Hypervisor",
    "iam-instance-profile.arn": "IamInstanceProfile.Arn",
    "iam-instance-profile.id": "IamInstanceProfile.Id",
    "image-id": "ImageId",
    "instance-id": "InstanceId",
    "instance-lifecycle": "InstanceLifecycle",
    "instance-state-code": "State.Code",
    "instance-state-name": "State.Name",
    "instance-type": "InstanceType",
    "instance.group-id": "SecurityGroups.GroupId",
    "instance.group-name": "SecurityGroups.GroupName",
    "ip-address": "PublicIpAddress",
    "ipv6-address": "NetworkInterfaces.Ipv6Addresses.Ipv6Address",
    "kernel-id": "KernelId",
    "key-name": "KeyName",
    "launch-index": "AmiLaunchIndex",
    "launch-time": "LaunchTime",
    "maintenance-options.auto-recovery": "MaintenanceOptions.AutoRecovery",
    "metadata-options.http-endpoint": "MetadataOptions.HttpEndpoint",
    "metadata-options.http-protocol-ipv4": "",  # in no answer
    "metadata-options.http-protocol-ipv6": "MetadataOptions.HttpProtocolIpv6",
    "metadata-options.http-put-response-hop-limit": "MetadataOptions.HttpPutResponseHopLimit",
    "metadata-options.http-tokens": "MetadataOptions.HttpTokens",
    "metadata-options.instance-metadata-tags": "MetadataOptions.InstanceMetadataTags",
    "metadata-options.state": "MetadataOptions.State",
    "monitoring-state": "Monitoring.State",
    **{f"network-interface.addresses.association.{k}": f"{_ADDRESS}.Association.{v}" for k, v in _ASSOCIATION.items()},
    "network-interface.addresses.primary": f"{_ADDRESS}.Primary",
    "network-interface.addresses.private-dns-name": f"{_ADDRESS}.PrivateDnsName",
    "network-interface.addresses.private-ip-address": f"{_ADDRESS}.PrivateIpAddress",
    **{f"network-interface.association.{k}": f"{_INTERFACE}.Association.{v}" for k, v in _ASSOCIATION.items()},
    "network-interface.attachment.attach-time": f"{_INTERFACE}.Attachment.AttachTime",
    "network-interface.attachment.attachment-id": f"{_INTERFACE}.Attachment.AttachmentId",
    "network-interface.attachment.delete-on-termination": f"{_INTERFACE}.Attachment.DeleteOnTermination",
    "network-interface.attachment.device-index": f"{_INTERFACE}.Attachment.DeviceIndex",
    "network-interface.attachment.network-card-index": f"{_INTERFACE}.Attachment.NetworkCardIndex",
    "network-interface.attachment.status": f"{_INTERFACE}.Attachment.Status",
    "network-interface.availability-zone": "Placement.AvailabilityZone",
    "network-interface.deny-all-igw-traffic": "",
    "network-interface.description": f"{_INTERFACE}.Description",
    "network-interface.group-id": f"{_INTERFACE}.Groups.GroupId",
    "network-interface.group-name": f"{_INTERFACE}.Groups.GroupName",
    "network-interface.ipv4-prefixes.ipv4-prefix": f"{_INTERFACE}.Ipv4Prefixes.Ipv4Prefix",
    "network-interface.ipv6-address": f"{_INTERFACE}.Ipv6Addresses.Ipv6Address",
    "network-interface.ipv6-addresses.ipv6-address": f"{_INTERFACE}.Ipv6Addresses.Ipv6Address",
    "network-interface.ipv6-addresses.is-primary-ipv6": f"{_INTERFACE}.Ipv6Addresses.IsPrimaryIpv6",
    "network-interface.ipv6-native": "",
    "network-interface.ipv6-prefixes.ipv6-prefix": f"{_INTERFACE}.Ipv6Prefixes.Ipv6Prefix",
    "network-interface.mac-address": f"{_INTERFACE}.MacAddress",
    "network-interface.network-interface-id": f"{_INTERFACE}.NetworkInterfaceId",
    "network-interface.operator.managed": f"{_INTERFACE}.Operator.Managed",
    "network-interface.operator.principal": f"{_INTERFACE}.Operator.Principal",
    "network-interface.outpost-arn": "",
    "network-interface.owner-id": f"{_INTERFACE}.OwnerId",
    "network-interface.private-dns-name": f"{_INTERFACE}.PrivateDnsName",
    "network-interface.private-ip-address": f"{_INTERFACE}.PrivateIpAddress",
    "network-interface.public-dns-name": f"{_INTERFACE}.Association.PublicDnsName",
    "network-interface.requester-id": "",
    "network-interface.requester-managed": "",
    "network-interface.source-dest-check": f"{_INTERFACE}.SourceDestCheck",
    "network-interface.status": f"{_INTERFACE}.Status",
    "network-interface.subnet-id": f"{_INTERFACE}.SubnetId",
    "network-interface.vpc-id": f"{_INTERFACE}.VpcId",
    "network-performance-options.bandwidth-weighting": "NetworkPerformanceOptions.BandwidthWeighting",
    "operator.managed": "Operator.Managed",
    "operator.principal": "Operator.Principal",
    "outpost-arn": "OutpostArn",
    "placement-group-name": "Placement.GroupName",
    "placement-partition-number": "Placement.PartitionNumber",
    "platform": "Platform",
    "platform-details": "PlatformDetails",
    "private-dns-name": "PrivateDnsName",
    "private-dns-name-options.enable-resource-name-dns-a-record": (
        "PrivateDnsNameOptions.EnableResourceNameDnsARecord"
    ),
    "private-dns-name-options.enable-resource-name-dns-aaaa-record": (
        "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord"
    ),
    "private-dns-name-options.hostname-type": "PrivateDnsNameOptions.HostnameType",
    "private-ip-address": "PrivateIpAddress",
    "product-code": "ProductCodes.ProductCodeId",
    "product-code.type": "ProductCodes.ProductCodeType",
    "ramdisk-id": "RamdiskId",
    "reason": "StateTransitionReason",
    "requester-id": "",
    "root-device-name": "RootDeviceName",
    "root-device-type": "RootDeviceType",
    "source-dest-check": "SourceDestCheck",
    "spot-instance-request-id": "SpotInstanceRequestId",
    "state-reason-code": "StateReason.Code",
    "state-reason-message": "StateReason.Message",
    "subnet-id": "SubnetId",
    "tenancy": "Placement.Tenancy",
    "tpm-support": "TpmSupport",
    "usage-operation": "UsageOperation",
    "usage-operation-update-time": "UsageOperationUpdateTime",
    "virtualization-type": "VirtualizationType",
    "vpc-id": "VpcId",
}
"""Filter name to a path through the shape ``Instance`` (API reference, DescribeInstances); empty: none has a value."""


def _elastic(attribute: str) -> Callable[[Any], list[Any]]:
    """An attribute of the instance's Elastic IPs."""

    def read(one: Any) -> list[Any]:
        theirs = [address for address in one.ec2_backend.addresses if address.eni in one.nics.values()]
        return [getattr(address, attribute) for address in theirs]

    return read


_NOT_IN_SHAPE: dict[str, Callable[[Any], list[Any]]] = {
    **{
        f"network-interface.{whose}.{name}": _elastic(name.replace("-", "_"))
        for whose in ("association", "addresses.association")
        for name in ("allocation-id", "association-id")
    },
    "owner-id": lambda one: [one.owner_id],
    "network-interface.attachment.instance-id": lambda one: [one.id] if one.nics else [],
    "network-interface.attachment.instance-owner-id": lambda one: [one.owner_id] if one.nics else [],
    "network-interface.tag-key": lambda one: [tag["key"] for nic in one.nics.values() for tag in nic.get_tags()],
    "network-interface.tag-value": lambda one: [tag["value"] for nic in one.nics.values() for tag in nic.get_tags()],
    "reservation-id": lambda one: [
        key for key, reservation in one.ec2_backend.reservations.items() if one in reservation.instances
    ],
}


def _checks(kind: str, status: Any) -> dict[str, list[str]]:
    return {
        f"{kind}.status": [status["Status"]],
        f"{kind}.reachability": [detail["Status"] for detail in status.get("Details", [])],
    }


_STATUS = (
    "availability-zone",
    "availability-zone-id",
    "instance-state-code",
    "instance-state-name",
    "operator.managed",
)
_STATUS_NONE = (
    *("event.code", "event.description", "event.instance-event-id", "event.not-after", "event.not-before"),
    *("event.not-before-deadline", "operator.principal", "attached-ebs-status.status", "application-status.status"),
)
"""Filters of DescribeInstanceStatus that no instance has a value for: here are no scheduled events."""

_pick = XFormedAttributePicker()


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    """A filter's value: ``*`` stands for any characters, ``?`` for one, a backslash takes that away."""
    parts = re.findall(r"\\.|.", text, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)


def matches(found: Iterator[Any] | Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether one of the values is one of those that are wanted; with wildcards, case counts.

    A record's empty text is no value: only an empty one finds it, no wildcard.
    """
    texts = [_text(value) for value in found]
    return any(
        (text != "" or one == "") and _pattern(str(one)).fullmatch(text) is not None for text in texts for one in wanted
    )


def _text(value: Any) -> str:
    """As the answer has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return str(value)


@lru_cache(maxsize=1)
def _shape() -> Any:
    return get_service_model("ec2").shape_for("Instance")


def _values(value: Any, shape: Any, path: Sequence[str]) -> Iterator[Any]:
    """What is at the path, in every element of every list on the way."""
    if value is None:
        return
    if shape.type_name == "list":
        for one in value:
            yield from _values(one, shape.member, path)
    elif not path:
        yield value
    else:
        member = shape.members[path[0]]
        member.parent = shape
        yield from _values(_pick(AttributePickerContext(value, path[0], member)), member, path[1:])


def values(instance: Any, name: str) -> list[Any]:
    """What an instance has for a filter.

    Raises
    ------
    EC2ClientError
        For a filter that there is not.
    """
    special = _NOT_IN_SHAPE.get(name)
    if special is not None:
        return list(special(instance))
    if name not in PATHS:
        raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
    path = PATHS[name]
    return list(_values(instance, _shape(), path.split("."))) if path else []


def _tags(instance: Any, name: str, wanted: Sequence[Any]) -> bool:
    tags = tags_of(instance)
    if name == "tag-key":
        return matches(list(tags), wanted)
    if name == "tag-value":
        return matches(list(tags.values()), wanted)
    key = name.removeprefix("tag:")
    return key in tags and matches([tags[key]], wanted)


def passes(instance: Any, filters: Mapping[str, Sequence[Any]]) -> bool:
    """Whether an instance passes all filters of DescribeInstances; the names are looked at first."""
    for name in filters:
        if not name.startswith("tag:") and name not in ("tag-key", "tag-value", *PATHS, *_NOT_IN_SHAPE):
            raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return all(
        _tags(instance, name, wanted) if name.startswith("tag") else matches(values(instance, name), wanted)
        for name, wanted in filters.items()
    )


def _passes_status(instance: Any, filters: Mapping[str, Sequence[Any]]) -> bool:
    checks = {
        **_checks("instance-status", instance.instance_status),
        **_checks("system-status", instance.system_status),
    }
    for name, wanted in filters.items():
        if name in checks:
            found: list[Any] = checks[name]
        elif name in _STATUS or name.startswith("tag"):
            if not passes(instance, {name: wanted}):
                return False
            continue
        elif name in _STATUS_NONE:
            found = []
        else:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
        if not matches(found, wanted):
            return False
    return True


def _describe_status(self: Any) -> Any:
    """DescribeInstanceStatus with its own filters, in pages of 5 to 1000 (API reference)."""
    instance_ids, most, token = (
        self._get_param("InstanceIds", []),
        self._get_param("MaxResults"),
        self._get_param("NextToken"),
    )
    if most is not None and instance_ids:
        raise InvalidParameterCombination(
            "The parameter instancesSet cannot be used with the parameter maxResults",
        )
    if most is not None and not 5 <= int(most) <= 1000:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ( {most} ) for parameter maxResults is invalid. Expecting a value from 5 to 1000.",
        )
    everybody = self.ec2_backend.describe_instance_status(
        list(dict.fromkeys(instance_ids)), self._get_bool_param("IncludeAllInstances", False), []
    )
    filters = self._filters_from_querystring()
    found = [one for one in everybody if _passes_status(one, filters)]
    start = 0
    if token:
        known = [one.id for one in everybody]
        if token not in known:
            raise EC2ClientError("InvalidNextToken", "The specified NextToken is not valid.")
        after = set(known[known.index(token) + 1 :])
        start = next((place for place, one in enumerate(found) if one.id in after), len(found))
    end = start + int(most or max(len(found), 1))
    more = found[end - 1].id if end < len(found) else None
    return ActionResult({"InstanceStatuses": found[start:end], "NextToken": more})


def install() -> None:
    """Lay the rules over moto. Once a process."""
    vars(moto.ec2.utils)["passes_filter_dict"] = passes
    setattr(InstanceResponse, "describe_instance_status", _describe_status)  # noqa: B010 - mypy: a method
