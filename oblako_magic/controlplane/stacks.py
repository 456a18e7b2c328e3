"""AWS::EC2::Instance in CloudFormation: what moto leaves out of create, update and delete."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moto.ec2.exceptions import OperationNotPermitted4
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance

from . import rollback, stack_updates
from .records import tags_of
from .semantics import ami_for, backing

_STACK_TAGS = "aws:cloudformation:"


def _truth(value: Any) -> bool:
    return str(value).lower() == "true"


def _nics(properties: dict[str, Any]) -> list[dict[str, Any]]:
    nics = []
    for nic in properties.get("NetworkInterfaces") or []:
        nic = dict(nic)
        nic["Groups"] = nic.pop("GroupSet", [])
        if "AssociatePublicIpAddress" in nic:
            nic["AssociatePublicIpAddress"] = _truth(nic["AssociatePublicIpAddress"])
        nics.append(nic)
    return nics


def _mappings(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """Block devices with CloudFormation's strings as what moto expects; virtual devices have no volume."""
    found = []
    for mapping in properties.get("BlockDeviceMappings") or []:
        if "Ebs" not in mapping:
            continue
        ebs = dict(mapping["Ebs"])
        for key in ("DeleteOnTermination", "Encrypted"):
            if key in ebs:
                ebs[key] = _truth(ebs[key])
        if "VolumeSize" in ebs:
            ebs["VolumeSize"] = int(ebs["VolumeSize"])
        found.append({**mapping, "Ebs": ebs})
    return found


def _create(
    cls: type[Instance],
    /,
    resource_name: str,
    cloudformation_json: Any,
    account_id: str,
    region_name: str,
    **stack: Any,
) -> Instance:
    properties = cloudformation_json["Properties"]
    tags = {tag["Key"]: str(tag["Value"]) for tag in properties.get("Tags") or []}
    if stack.get("StackId"):
        # Moto sets them after the creation of a stack, and not at all in an update or a change set.
        tags[f"{_STACK_TAGS}stack-id"] = stack["StackId"]
        tags[f"{_STACK_TAGS}stack-name"] = stack["StackId"].split("/")[1]
        tags[f"{_STACK_TAGS}logical-id"] = stack["LogicalId"]
    backend = ec2_backends[account_id][region_name]
    arguments: dict[str, Any] = {
        "image_id": properties.get("ImageId"),
        "user_data": properties.get("UserData"),
        "count": 1,
        "security_group_names": [
            *(properties.get("SecurityGroups") or []),
            *(properties.get("SecurityGroupIds") or []),
        ],
        "instance_type": properties.get("InstanceType", "m1.small"),
        "is_instance_type_default": not properties.get("InstanceType"),
        "region_name": region_name,
        "placement": properties.get("AvailabilityZone") if not properties.get("SubnetId") else None,
        "subnet_id": properties.get("SubnetId"),
        "key_name": properties.get("KeyName"),
        "private_ip": properties.get("PrivateIpAddress"),
        "nics": _nics(properties),
        "associate_public_ip": None,
        "launch_template": properties.get("LaunchTemplate") or {},
        "tags": {"instance": tags},
        "disable_api_termination": _truth(properties.get("DisableApiTermination")),
        "instance_initiated_shutdown_behavior": properties.get("InstanceInitiatedShutdownBehavior"),
        "ebs_optimized": _truth(properties.get("EbsOptimized")),
        "monitoring_state": "enabled" if _truth(properties.get("Monitoring")) else "disabled",
    }
    if properties.get("BlockDeviceMappings"):
        arguments["block_device_mappings"] = _mappings(properties)
    instance = backend.run_instances(**arguments).instances[0]
    if properties.get("IamInstanceProfile"):
        backend.associate_iam_instance_profile(
            instance_id=instance.id, iam_instance_profile_name=properties["IamInstanceProfile"]
        )
    return instance


def _needs_replacement(instance: Any, properties: dict[str, Any]) -> bool:
    """Whether a changed property is one that CloudFormation replaces an instance for (its template reference)."""
    wanted = {
        "image_id": ami_for(instance.ec2_backend, properties.get("ImageId")),
        "key_name": properties.get("KeyName"),
        "subnet_id": properties.get("SubnetId"),
        "private_ip": properties.get("PrivateIpAddress"),
        "availability_zone": properties.get("AvailabilityZone"),
    }
    if instance.state in ("terminated", "shutting-down"):
        return True
    if instance.key_name and not properties.get("KeyName"):
        return True
    return any(value and value != getattr(instance, name) for name, value in wanted.items())


def _update(
    cls: type[Instance],
    /,
    original_resource: Any,
    new_resource_name: str,
    cloudformation_json: Any,
    account_id: str,
    region_name: str,
) -> Any:
    """Change in place what can be, else make a new instance; the old one is deleted when the update is complete."""
    properties = cloudformation_json["Properties"]
    old_tags = tags_of(original_resource)
    stack_tags = {key: value for key, value in old_tags.items() if key.startswith(_STACK_TAGS)}
    if _needs_replacement(original_resource, properties):
        instance = _create(cls, new_resource_name, cloudformation_json, account_id, region_name)
        instance.add_tags(stack_tags)
        setattr(instance, stack_updates.REPLACES, original_resource)
        return instance
    instance = original_resource
    tags = {tag["Key"]: str(tag["Value"]) for tag in properties.get("Tags") or []}
    gone = [key for key in old_tags if not key.startswith(("aws:", "oblako:")) and key not in tags]
    if gone:
        instance.ec2_backend.delete_tags([instance.id], dict.fromkeys(gone))
    instance.add_tags(tags)
    instance.disable_api_termination = _truth(properties.get("DisableApiTermination"))
    instance.instance_initiated_shutdown_behavior = properties.get("InstanceInitiatedShutdownBehavior") or "stop"
    groups = [*(properties.get("SecurityGroups") or []), *(properties.get("SecurityGroupIds") or [])]
    if groups:
        instance.security_groups = [instance.ec2_backend.get_security_group_by_name_or_id(group) for group in groups]
    new_type = properties.get("InstanceType", "m1.small")
    if new_type != instance.instance_type or properties.get("UserData") != instance.user_data:
        # "Some interruptions": AWS stops and starts the instance; here that is a reboot with new limits.
        instance.instance_type, instance.user_data = new_type, properties.get("UserData")
        if instance.state == "running":
            backing(instance).reboots += 1
    return instance


def _delete(
    cls: type[Instance], /, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
) -> None:
    """Moto's own goes by the logical id alone and would take other stacks' instances along."""
    for instance in ec2_backends[account_id][region_name].all_instances():
        tags = tags_of(instance)
        stack, logical = tags.get(f"{_STACK_TAGS}stack-name"), tags.get(f"{_STACK_TAGS}logical-id")
        # The physical id, or the name that moto has made up: STACK-LOGICAL-RANDOM.
        if instance.id == resource_name or (stack and resource_name.rpartition("-")[0] == f"{stack}-{logical}"):
            instance.delete(account_id, region_name)


def _is_created(self: Any) -> bool:
    """A stack is complete when its instances run, as on AWS."""
    return bool(self.state != "pending")


def settled(instance: Any, failure: str = "") -> bool:
    """Tell the instance's stack, where it has one, that the instance runs or never will.

    Parameters
    ----------
    instance : moto.ec2.models.instances.Instance
    failure : str
        Why the launch failed; empty when it worked.

    Returns
    -------
    bool
        Whether that has changed the records of other instances.
    """
    tags = tags_of(instance)
    stack_id = tags.get(f"{_STACK_TAGS}stack-id")
    if not stack_id:
        return False
    # Imported here: it takes half of moto along, which the first stack has loaded already.
    from moto.cloudformation.models import cloudformation_backends

    stack = cloudformation_backends[instance.owner_id][instance.region_name].stacks.get(stack_id)
    if stack is None:
        return False
    return stack_updates.failed(stack, instance, failure) if failure else stack_updates.complete(stack)


def _drop(instance: Any) -> None:
    """Delete one that was replaced; a protected one is left behind, as by AWS's clean-up."""
    if instance.disable_api_termination is not True:
        instance.delete(instance.owner_id, instance.region_name)


def _delete_instance(self: Any, account_id: str, region: str) -> None:
    """Delete as TerminateInstances does: a protected instance is left alone, one that has gone is none the worse."""
    if self.disable_api_termination is True:
        raise OperationNotPermitted4(self.id)
    stack_updates.retire(self)
    if self.state not in ("terminated", "shutting-down"):
        self.terminate()


def _delete_stack(original: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """A stack that can't be deleted stays, as DELETE_FAILED with the reason; moto forgets it and its instances."""

    @functools.wraps(original)
    def delete_stack(self: Any, name_or_stack_id: str) -> None:
        before = dict(self.stacks)
        for stack in self.stacks.values():
            if name_or_stack_id in (stack.name, stack.stack_id):
                stack_updates.clean_up(stack)
        try:
            original(self, name_or_stack_id)
        except Exception as error:
            lost = [key for key in before if key not in self.stacks and key not in self.deleted_stacks]
            if not lost:
                raise
            for key in lost:
                self.stacks[key] = before[key]
                rollback.fail(before[key], "DELETE_FAILED", getattr(error, "message", None) or str(error))

    return delete_stack


_STACK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")


@dataclass
class _Checks:
    """Whether a stack's name is checked; moto's habit is to take any."""

    names: bool = True


_checks = _Checks()


def _checked(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Refuse a name, a template without resources and parameters without a place in it, as CloudFormation does."""

    @functools.wraps(original)
    def request(self: Any) -> Any:
        from moto.cloudformation.exceptions import ValidationError

        name, body = str(self._get_param("StackName") or ""), self._get_param("TemplateBody")
        if _checks.names and not name.startswith("arn:") and not _STACK_NAME.fullmatch(name):
            raise ValidationError(
                message=f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*, of at most 128 characters"
            )
        template = _parsed(body) if body else None
        if template is not None:
            if not template.get("Resources"):
                raise ValidationError(message="Template format error: At least one Resources member must be defined.")
            given = [parameter["ParameterKey"] for parameter in self._get_param("Parameters", [])]
            unknown = [key for key in given if key not in (template.get("Parameters") or {})]
            if unknown:
                raise ValidationError(message=f"Parameters: [{', '.join(unknown)}] do not exist in the template")
        return original(self)

    return request


def _parsed(body: str) -> dict[str, Any] | None:
    """The template; None where it can't be read, which moto says."""
    from moto.cloudformation.models import Stack

    try:
        template = Stack.parse_template(body)
    except Exception:
        return None
    return template if isinstance(template, dict) else None


def install_late(service: str) -> None:
    """Lay the rules over a service when moto loads it: CloudFormation takes half of moto along."""
    if service != "cloudformation":
        return
    from moto.cloudformation.models import CloudFormationBackend
    from moto.cloudformation.responses import CloudFormationResponse

    rules: list[tuple[type, str, Any]] = [
        (CloudFormationResponse, "create_stack", _checked(rollback.create_stack(CloudFormationResponse.create_stack))),
        (CloudFormationResponse, "update_stack", _checked(CloudFormationResponse.update_stack)),
        (CloudFormationResponse, "create_change_set", _checked(CloudFormationResponse.create_change_set)),
        (CloudFormationBackend, "delete_stack", _delete_stack(CloudFormationBackend.delete_stack)),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
    stack_updates.install()


def install(strict: bool) -> None:
    """Lay the rules over moto's Instance."""
    _checks.names = strict
    stack_updates.KINDS[Instance] = stack_updates.Kind(lambda instance: bool(instance.state == "pending"), _drop)
    rules: dict[str, Any] = {
        "delete": _delete_instance,
        "create_from_cloudformation_json": classmethod(_create),
        "update_from_cloudformation_json": classmethod(_update),
        "delete_from_cloudformation_json": classmethod(_delete),
        "is_created": _is_created,
    }
    for name, rule in rules.items():
        setattr(Instance, name, rule)
