"""Addresses and network interfaces of instances: which one is next, what stays over a stop, what goes at the end.

Changes moto's records and nothing else.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

_RESERVED_FIRST = 4
"""Addresses at the start of a subnet that AWS keeps; and the last one (VPC user guide)."""


def _next_address(self: Any, instance: Any) -> str:
    """The next free address of a subnet, from the fifth on: AWS keeps four at the start and one at the end.

    Moto walks through the addresses with an iterator that a restart sets back to the first.
    """
    network = self.cidr
    last = network.num_addresses - 2
    start = vars(self).get("oblako_next", _RESERVED_FIRST)
    for offset in (*range(start, min(last + 1, start + 65536)), *range(_RESERVED_FIRST, min(start, last + 1))):
        address = network[offset]
        if str(address) not in self._subnet_ips and address not in self._reserved_ips:
            self.oblako_next = offset + 1
            self._unused_ips.discard(str(address))
            self._subnet_ips[str(address)] = instance
            return str(address)
    raise EC2ClientError(
        "InsufficientFreeAddressesInSubnet",
        f"There are not enough free addresses in subnet '{self.id}' to satisfy the requested number of instances.",
    )


def _keep_elastic(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """An Elastic IP stays over stop and start; only an address that EC2 chose is another one afterwards."""

    @functools.wraps(original)
    def change(self: Any) -> None:
        original(self)
        for address in self.ec2_backend.addresses:
            if address.eni is self:
                self.public_ip = address.public_ip

    return change


def _request_ip(original: Callable[..., Any]) -> Callable[..., Any]:
    """PrivateIpAddress (API reference, RunInstances); moto's own exceptions are no answers."""

    @functools.wraps(original)
    def request_ip(self: Any, ip: str, instance: Any) -> Any:
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise EC2ClientError("InvalidParameterValue", f"invalid value for parameter address: {ip}") from None
        if address not in self.cidr:
            raise EC2ClientError(
                "InvalidParameterValue", f"Address {ip} does not fall within the subnet's address range"
            )
        place = int(address) - int(self.cidr.network_address)
        if place < _RESERVED_FIRST or place == self.cidr.num_addresses - 1:
            raise EC2ClientError("InvalidParameterValue", f"Address {ip} is in subnet's reserved address range")
        if str(ip) in self._subnet_ips:
            raise EC2ClientError("InvalidIPAddress.InUse", f"Address {ip} is in use.")
        return original(self, ip, instance)

    return request_ip


def _prepare(original: Callable[..., None]) -> Callable[..., None]:
    """An interface that is made at launch goes with its instance unless the request says otherwise.

    So EC2's user guide ("Delete a network interface"); one that was there before stays.
    """

    @functools.wraps(original)
    def prep_nics(self: Any, nic_spec: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        given = {int(nic.get("DeviceIndex") or 0): nic for nic in nic_spec}
        original(self, nic_spec, *args, **kwargs)
        for index, interface in self.nics.items():
            spec = given.get(index, {})
            if not spec.get("NetworkInterfaceId"):
                interface.delete_on_termination = str(spec.get("DeleteOnTermination", True)).lower() == "true"

    return prep_nics


def _terminate(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The end of an instance frees its addresses and interfaces at once; moto keeps them as long as the record.

    An Elastic IP outlives its instance and is free again (EC2 user guide).
    """

    @functools.wraps(original)
    def terminate(self: Any) -> Any:
        previous = original(self)
        for address in self.ec2_backend.addresses:
            if address.instance is self or address.eni in self.nics.values():
                if address.eni is not None:
                    address.eni.public_ip = None
                address.instance = address.eni = address.association_id = None
        _release(self)
        return previous

    return terminate


def _release(instance: Any) -> None:
    """A terminated instance is described without interface, address and subnet, as by EC2."""
    kept = [nic for nic in instance.nics.values() if nic.id in instance.ec2_backend.enis]
    for interface in kept:
        instance.detach_eni(interface)
    instance.nics = {}
    theirs = {address["PrivateIpAddress"] for nic in kept for address in nic.private_ip_addresses}
    for subnets in instance.ec2_backend.subnets.values():
        subnet = subnets.get(instance.subnet_id)
        for address in instance._private_ips - theirs if subnet else ():
            # By then it may be somebody else's: a second round must not free it again.
            if subnet._subnet_ips.get(address) is instance:
                subnet.del_subnet_ip(address)
    instance._private_ips = set()
    instance._subnet_id = None


def _of_primary(name: str) -> property:
    """An attribute of the primary interface; none of a terminated instance."""
    return property(lambda self: getattr(self.nics.get(0), name, None))


def _private_name(original: property) -> property:
    def private_dns_name(self: Any) -> str:
        return str(original.__get__(self)) if self.private_ip else ""

    return property(private_dns_name)


def install() -> None:
    """Lay the rules over moto, after ``semantics.install``. Once a process."""
    rules: list[tuple[type, str, Any]] = [
        (Subnet, "get_available_subnet_ip", _next_address),
        (Subnet, "request_ip", _request_ip(Subnet.request_ip)),
        (NetworkInterface, "start", _keep_elastic(NetworkInterface.start)),
        (NetworkInterface, "stop", _keep_elastic(NetworkInterface.stop)),
        (Instance, "prep_nics", _prepare(Instance.prep_nics)),
        (Instance, "terminate", _terminate(Instance.terminate)),
        (Instance, "private_ip", _of_primary("private_ip_address")),
        (Instance, "private_ip_address", _of_primary("private_ip_address")),
        (Instance, "public_ip", _of_primary("public_ip")),
        (Instance, "public_ip_address", _of_primary("public_ip")),
        (Instance, "private_dns_name", _private_name(Instance.private_dns_name)),  # type: ignore[arg-type]
        # Moto frees the addresses when Python happens to drop the record - also one that stands for another by then.
        (Instance, "__del__", lambda self: None),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
