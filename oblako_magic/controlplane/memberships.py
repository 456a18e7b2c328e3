"""Which security groups an instance is in: those of its primary network interface (EC2 user guide).

Moto keeps two lists, and changes the one that was named.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import InstanceBackend


def join_default(instance: Any) -> None:
    """Put a new instance without a group into its VPC's default one; moto says so of its interface alone."""
    primary = instance.nics.get(0)
    if not instance.security_groups and primary is not None:
        instance.security_groups = list(primary.group_set)


def _of_instance(original: Callable[..., Any]) -> Callable[..., Any]:
    """ModifyInstanceAttribute's Groups are its primary interface's, too."""

    @functools.wraps(original)
    def modify_instance_security_groups(self: Any, instance_id: str, new_group_id_list: list[str]) -> Any:
        instance = original(self, instance_id, new_group_id_list)
        if 0 in instance.nics:
            instance.nics[0]._group_set = list(instance.security_groups)
        return instance

    return modify_instance_security_groups


def _of_interface(original: Callable[..., Any]) -> Callable[..., Any]:
    """ModifyNetworkInterfaceAttribute's Groups of a primary interface are its instance's, too."""

    @functools.wraps(original)
    def modify_network_interface_attribute(self: Any, eni_id: str, group_ids: list[str], *args: Any, **kw: Any) -> None:
        original(self, eni_id, group_ids, *args, **kw)
        interface = self.get_network_interface(eni_id)
        instance = interface.instance
        if group_ids and instance is not None and instance.nics.get(0) is interface:
            instance.security_groups = list(interface._group_set)

    return modify_network_interface_attribute


def install() -> None:
    """Lay the rules over moto. Once a process."""
    rules: list[tuple[type, str, Any]] = [
        (
            InstanceBackend,
            "modify_instance_security_groups",
            _of_instance(InstanceBackend.modify_instance_security_groups),
        ),
        (
            NetworkInterfaceBackend,
            "modify_network_interface_attribute",
            _of_interface(NetworkInterfaceBackend.modify_network_interface_attribute),
        ),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
