"""What a launch takes from its launch template or launch configuration, beside what moto takes.

Pure but for moto's records: it fills in the arguments of moto's ``run_instances``. A request goes before its template
(EC2 user guide, "Launch an instance from a launch template").
"""

from __future__ import annotations

import copy
from typing import Any

from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination
from moto.ec2.utils import convert_tag_spec, filter_iam_instance_profiles
from moto.iam.exceptions import NotFoundException as IAMNotFoundException


def truth(value: Any) -> bool:
    """A boolean as the APIs and templates write it."""
    return str(value).lower() == "true"


def data_of(backend: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The data of the launch template that the arguments name; empty where they name none."""
    given = kwargs.get("launch_template")
    return dict(backend._get_template_from_args(given).data) if given else {}


def fill_in(template: dict[str, Any], kwargs: dict[str, Any], *, by_request: bool = True) -> None:
    """Fill in what moto does not take from a launch template; and what it takes only after the checks.

    Parameters
    ----------
    template : dict
        LaunchTemplateData.
    kwargs : dict
        The arguments of moto's ``run_instances``; changed in place.
    by_request : bool
        Whether a RunInstances launches; else it is a service, whose subnet goes into the template's interfaces.

    Raises
    ------
    EC2ClientError
        Where the request names a subnet and the template network interfaces.
    """
    if kwargs.get("is_instance_type_default") and template.get("InstanceType"):
        kwargs["instance_type"], kwargs["is_instance_type_default"] = template["InstanceType"], False
    kwargs["key_name"] = kwargs.get("key_name") or template.get("KeyName")
    kwargs["instance_initiated_shutdown_behavior"] = kwargs.get("instance_initiated_shutdown_behavior") or template.get(
        "InstanceInitiatedShutdownBehavior"
    )
    for argument, name in (
        ("disable_api_stop", "DisableApiStop"),
        ("disable_api_termination", "DisableApiTermination"),
        ("ebs_optimized", "EbsOptimized"),
    ):
        kwargs[argument] = bool(kwargs.get(argument)) or truth(template.get(name))
    for argument, name in (("metadata_options", "MetadataOptions"), ("hibernation_options", "HibernationOptions")):
        if template.get(name):
            kwargs[argument] = {**template[name], **(kwargs.get(argument) or {})}
    if truth((template.get("Monitoring") or {}).get("Enabled")) and kwargs.get("monitoring_state") != "enabled":
        kwargs["monitoring_state"] = "enabled"
    market = (template.get("InstanceMarketOptions") or {}).get("MarketType")
    if market and not kwargs.get("instance_market_options"):
        kwargs["instance_market_options"] = market
    of_volumes = convert_tag_spec(template.get("TagSpecifications") or []).get("volume")
    if of_volumes:
        tags = kwargs.get("tags") or {}
        kwargs["tags"] = {**tags, "volume": {**of_volumes, **tags.get("volume", {})}}
    _place(template, kwargs, by_request)


def _place(template: dict[str, Any], kwargs: dict[str, Any], by_request: bool) -> None:
    """Interfaces, zone and host."""
    interfaces = [_interface(given) for given in template.get("NetworkInterfaces") or []]
    if interfaces and not kwargs.get("nics"):
        if by_request and kwargs.get("subnet_id"):
            raise InvalidParameterCombination(
                "Network interfaces and an instance-level subnet ID may not be specified on the same request"
            )
        kwargs["nics"] = interfaces
    placed = kwargs.get("subnet_id") or any(nic.get("SubnetId") for nic in kwargs.get("nics") or [])
    placement = template.get("Placement") or {}
    if not placed and not kwargs.get("placement"):
        kwargs["placement"] = placement.get("AvailabilityZone")
    if placement.get("HostId") and not kwargs.get("placement_hostid"):
        kwargs["placement_hostid"] = placement["HostId"]


def _interface(given: dict[str, Any]) -> dict[str, Any]:
    """One as RunInstances has it: a template may write its booleans and numbers as text, and leave out the index."""
    interface = copy.deepcopy(given)
    interface["DeviceIndex"] = int(interface.get("DeviceIndex") or 0)
    for flag in ("AssociatePublicIpAddress", "DeleteOnTermination"):
        if flag in interface:
            interface[flag] = truth(interface[flag])
    return interface


def profile_of(template: dict[str, Any], kwargs: dict[str, Any], backend: Any, *, strict: bool) -> str | None:
    """The ARN of the instance profile that the template or the launch configuration names, where no request does.

    Parameters
    ----------
    template, kwargs : dict
    backend : moto.ec2.models.EC2Backend
    strict : bool
        Whether it must exist.

    Raises
    ------
    EC2ClientError
        Where there is no such profile.
    """
    if kwargs.get("iam_instance_profile_name") or kwargs.get("iam_instance_profile_arn"):
        return None
    given = template.get("IamInstanceProfile") or {}
    name, arn = given.get("Name"), given.get("Arn")
    named = getattr(kwargs.get("launch_config"), "instance_profile_name", None)
    if named and not (name or arn):
        name, arn = (None, named) if str(named).startswith("arn:") else (named, None)
    if not (name or arn):
        return None
    try:
        found = filter_iam_instance_profiles(
            backend.account_id, backend.partition, iam_instance_profile_arn=arn, iam_instance_profile_name=name
        )
        return str(found.arn)
    except IAMNotFoundException:
        if not strict:
            return None
        which = "arn" if arn else "name"
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ({arn or name}) for parameter iamInstanceProfile.{which} is invalid. "
            f"Invalid IAM Instance Profile {'ARN' if arn else 'name'}",
        ) from None
