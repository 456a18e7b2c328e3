"""What DescribeInstances tells of every instance and moto's records lack: platform, CPU, options, whose address it is.

Pure: everything is read off the record, so that records of older versions have it, too. Changes nothing.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance

_PLATFORMS = {"windows": ("Windows", "RunInstances:0002")}
"""Platform to (PlatformDetails, UsageOperation) (EC2 user guide, "AMI billing information fields")."""


def _platform(self: Any) -> tuple[str, str]:
    return _PLATFORMS.get(str(self.platform or "").lower(), ("Linux/UNIX", "RunInstances"))


def _cpu_options(self: Any) -> dict[str, int] | None:
    """Cores and threads of the type, where they are known."""
    found = INSTANCE_TYPES.get(self.instance_type, {}).get("VCpuInfo") or {}
    if not found.get("DefaultCores"):
        return None
    return {"CoreCount": found["DefaultCores"], "ThreadsPerCore": found.get("DefaultThreadsPerCore") or 1}


def _ena(self: Any) -> bool:
    given = vars(self).get("ena_support")
    if given is not None:
        return bool(given)
    network = INSTANCE_TYPES.get(self.instance_type, {}).get("NetworkInfo") or {}
    return bool(network.get("EnaSupport", "unsupported") != "unsupported")


def _set_ena(self: Any, value: Any) -> None:
    vars(self)["ena_support"] = value


def _private_dns_options(self: Any) -> dict[str, Any] | None:
    if not self.subnet_id:
        return None  # terminated
    return {
        "HostnameType": "ip-name",
        "EnableResourceNameDnsARecord": False,
        "EnableResourceNameDnsAAAARecord": False,
    }


def _hibernation(self: Any) -> dict[str, bool]:
    given = vars(self).get("hibernation_options") or {}
    return {"Configured": str(given.get("Configured", False)).lower() == "true"}


def _set_hibernation(self: Any, value: Any) -> None:
    vars(self)["hibernation_options"] = value


def _public_dns(address: str, region: str) -> str:
    dashed = address.replace(".", "-")
    where = "compute-1" if region == "us-east-1" else f"{region}.compute"
    return f"ec2-{dashed}.{where}.amazonaws.com"


def _association(original: property) -> property:
    """An address that EC2 chose is Amazon's, an Elastic IP the account's; its name is the public one."""

    def association(self: Any) -> Any:
        found = original.__get__(self)
        if found:
            elastic = any(address.public_ip == self.public_ip for address in self.ec2_backend.addresses)
            found["ipOwnerId"] = self.ec2_backend.account_id if elastic else "amazon"
            found["publicDnsName"] = _public_dns(self.public_ip, self.ec2_backend.region_name)
        return found

    return property(association)


def install() -> None:
    """Lay the rules over moto. Once a process."""
    more: dict[str, Any] = {
        "PlatformDetails": property(lambda self: _platform(self)[0]),
        "UsageOperation": property(lambda self: _platform(self)[1]),
        "CpuOptions": property(_cpu_options),
        "CurrentInstanceBootMode": property(lambda self: "legacy-bios"),
        "EnclaveOptions": property(lambda self: {"Enabled": False}),
        "MaintenanceOptions": property(lambda self: {"AutoRecovery": "default", "RebootMigration": "default"}),
        "NetworkPerformanceOptions": property(lambda self: {"BandwidthWeighting": "default"}),
        "Operator": property(lambda self: {"Managed": False}),
        "CapacityReservationSpecification": property(lambda self: {"CapacityReservationPreference": "open"}),
        "PrivateDnsNameOptions": property(_private_dns_options),
        "ena_support": property(_ena, _set_ena),
        "hibernation_options": property(_hibernation, _set_hibernation),
    }
    for name, rule in more.items():
        setattr(Instance, name, rule)
    setattr(NetworkInterface, "association", _association(vars(NetworkInterface)["association"]))  # noqa: B010
