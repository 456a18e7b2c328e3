"""What the picture of a region is drawn from, as AWS's API tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .topology import Group, Machine, Subnet, Topology, Vpc

if TYPE_CHECKING:
    from ..cloud import Ec2
    from ..handles import Instance


def _name(raw: Mapping[str, Any]) -> str:
    return next((str(tag["Value"]) for tag in raw.get("Tags") or [] if tag["Key"] == "Name"), "")


def rule(permission: Mapping[str, Any]) -> str:
    """One inbound rule in words: ``tcp 22 from 0.0.0.0/0``."""
    protocol = str(permission.get("IpProtocol", "-1"))
    first, last = permission.get("FromPort"), permission.get("ToPort")
    if protocol == "-1":
        what = "all"
    elif protocol.startswith("icmp") or first is None or (first, last) in ((-1, -1), (0, 65535)):
        what = protocol
    else:
        what = f"{protocol} {first}" if first == last else f"{protocol} {first}-{last}"
    sources = [
        *(str(one["CidrIp"]) for one in permission.get("IpRanges") or []),
        *(str(one["CidrIpv6"]) for one in permission.get("Ipv6Ranges") or []),
        *(str(one.get("GroupName") or one.get("GroupId")) for one in permission.get("UserIdGroupPairs") or []),
        *(str(one["PrefixListId"]) for one in permission.get("PrefixListIds") or []),
    ]
    return f"{what} from {', '.join(sources) or 'nowhere'}"


def topology(ec2: Ec2, instances: Sequence[Instance] | None = None) -> Topology:
    """What there is in the region of an ``Ec2``, or what these instances are in.

    Raises
    ------
    OblakoError
    """
    machines = ec2.instances() if instances is None else instances
    wanted = {machine.vpc_id for machine in machines}

    def chosen(raw: Mapping[str, Any]) -> bool:
        return instances is None or raw.get("VpcId") in wanted

    def pages(operation: str, key: str) -> Iterator[dict[str, Any]]:
        found = ec2.get_client("ec2").get_paginator(operation).paginate()
        return (raw for page in found for raw in page[key] if chosen(raw))

    return Topology(
        ec2.region,
        tuple(
            Vpc(raw["VpcId"], raw.get("CidrBlock", ""), _name(raw), bool(raw.get("IsDefault")))
            for raw in pages("describe_vpcs", "Vpcs")
        ),
        tuple(
            Subnet(raw["SubnetId"], raw["VpcId"], raw.get("CidrBlock", ""), raw.get("AvailabilityZone", ""), _name(raw))
            for raw in pages("describe_subnets", "Subnets")
        ),
        tuple(map(_machine, machines)),
        tuple(
            Group(
                raw["GroupId"],
                raw.get("VpcId", ""),
                raw.get("GroupName", ""),
                tuple(rule(permission) for permission in raw.get("IpPermissions") or []),
            )
            for raw in pages("describe_security_groups", "SecurityGroups")
        ),
    )


def _machine(instance: Instance) -> Machine:
    # A handle shows its groups as "name (id)".
    groups = tuple(text.rpartition("(")[2].rstrip(")") for text in instance.security_groups)
    ports = tuple((port.container_port, port.url if port.host_port else "") for port in instance.ports)
    return Machine(
        instance.id,
        instance.name,
        instance.state,
        instance.type,
        instance.private_ip,
        instance.subnet_id,
        instance.vpc_id,
        groups,
        ports,
        instance.backed,
        instance.impaired,
    )
