"""AWS::SageMaker::NotebookInstance and its lifecycle configuration in CloudFormation: create, update, delete."""

from __future__ import annotations

from typing import Any

from moto.sagemaker.models import (
    FakeSagemakerNotebookInstance,
    FakeSageMakerNotebookInstanceLifecycleConfig,
    sagemaker_backends,
)

from . import notebook_rules, notebooks, stack_updates
from .notebooks import extra

_STACK_TAGS = "aws:cloudformation:"
_NAME_MOST = 63
_REPLACED = ("KmsKeyId", "SubnetId", "SecurityGroupIds", "DirectInternetAccess", "PlatformIdentifier")
"""Properties for which CloudFormation makes a new one (its template reference)."""


def _tags(properties: dict[str, Any]) -> list[dict[str, str]]:
    return [{"Key": tag["Key"], "Value": str(tag["Value"])} for tag in properties.get("Tags") or []]


def _size(properties: dict[str, Any]) -> int | None:
    return int(properties["VolumeSizeInGB"]) if properties.get("VolumeSizeInGB") is not None else None


def _create(
    cls: Any, /, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **stack: Any
) -> Any:
    properties = cloudformation_json["Properties"]
    tags = _tags(properties)
    if stack.get("StackId"):
        tags += [
            {"Key": f"{_STACK_TAGS}stack-id", "Value": stack["StackId"]},
            {"Key": f"{_STACK_TAGS}stack-name", "Value": stack["StackId"].split("/")[1]},
            {"Key": f"{_STACK_TAGS}logical-id", "Value": stack["LogicalId"]},
        ]
    return sagemaker_backends[
        account_id
    ][
        region_name
    ].create_notebook_instance(  # type: ignore[call-arg]
        notebook_instance_name=resource_name[-_NAME_MOST:].lstrip("-"),
        instance_type=properties.get("InstanceType"),
        role_arn=properties.get("RoleArn"),
        subnet_id=properties.get("SubnetId"),
        security_group_ids=properties.get("SecurityGroupIds"),
        kms_key_id=properties.get("KmsKeyId"),
        tags=tags,
        lifecycle_config_name=properties.get("LifecycleConfigName"),
        direct_internet_access=properties.get("DirectInternetAccess"),
        volume_size_in_gb=_size(properties) or 5,
        accelerator_types=properties.get("AcceleratorTypes"),
        default_code_repository=properties.get("DefaultCodeRepository"),
        additional_code_repositories=properties.get("AdditionalCodeRepositories"),
        root_access=properties.get("RootAccess"),
        oblako={
            "platform": properties.get("PlatformIdentifier"),
            "metadata_service": properties.get("InstanceMetadataServiceConfiguration"),
        },
    )


def _current(notebook: Any) -> dict[str, Any]:
    """Its properties as a template has them."""
    return {
        "InstanceType": notebook.instance_type,
        "RoleArn": notebook.role_arn,
        "LifecycleConfigName": notebook.lifecycle_config_name,
        "VolumeSizeInGB": notebook.volume_size_in_gb,
        "DefaultCodeRepository": notebook.default_code_repository,
        "AdditionalCodeRepositories": notebook.additional_code_repositories or None,
        "AcceleratorTypes": notebook.accelerator_types or None,
        "RootAccess": notebook.root_access,
        "KmsKeyId": notebook.kms_key_id,
        "SubnetId": notebook.subnet_id,
        "SecurityGroupIds": notebook.security_group_ids or None,
        "DirectInternetAccess": notebook.direct_internet_access,
        "PlatformIdentifier": extra(notebook).platform,
        "InstanceMetadataServiceConfiguration": extra(notebook).metadata_service,
    }


_DISASSOCIATE = {
    "LifecycleConfigName": "DisassociateLifecycleConfig",
    "DefaultCodeRepository": "DisassociateDefaultCodeRepository",
    "AdditionalCodeRepositories": "DisassociateAdditionalCodeRepositories",
    "AcceleratorTypes": "DisassociateAcceleratorTypes",
}


def _changes(notebook: Any, properties: dict[str, Any]) -> dict[str, Any]:
    """The parameters of an UpdateNotebookInstance that brings it to these properties."""
    wanted = {**properties, "VolumeSizeInGB": _size(properties)}
    found: dict[str, Any] = {}
    for name, value in _current(notebook).items():
        if name not in _REPLACED and wanted.get(name) is not None and wanted[name] != value:
            found[name] = wanted[name]
        elif name in _DISASSOCIATE and value and not wanted.get(name):
            found[_DISASSOCIATE[name]] = True
    if wanted.get("RootAccess") is None and notebook.root_access == "Disabled":
        found["RootAccess"] = "Enabled"
    return found


def _update(
    cls: Any,
    /,
    original_resource: Any,
    new_resource_name: str,
    cloudformation_json: Any,
    account_id: str,
    region_name: str,
) -> Any:
    """Change it in place - unless it is stopped it is stopped for it and started again - or make a new one."""
    notebook, properties = original_resource, cloudformation_json["Properties"]
    kept = [tag for tag in notebook.tags or [] if tag["Key"].startswith(_STACK_TAGS)]
    now = _current(notebook)
    named = properties.get("NotebookInstanceName")
    if (named and named != notebook.notebook_instance_name) or any(
        properties.get(name) is not None and properties[name] != now[name] for name in _REPLACED
    ):
        name = named or new_resource_name
        made = _create(cls, name, cloudformation_json, account_id, region_name)
        made.tags = [*made.tags, *kept]
        setattr(made, stack_updates.REPLACES, notebook)
        return made
    notebook.tags = [*_tags(properties), *kept]
    changes = _changes(notebook, properties)
    if not changes:
        return notebook
    backend = sagemaker_backends[account_id][region_name]
    status, machine = notebooks.status(notebook), extra(notebook).machine
    failed = status == "Failed" and machine is not None and machine.state not in ("shutting-down", "terminated")
    if status not in ("InService", "Pending") and not failed:
        notebook_rules.update(backend, notebook, changes)
        return notebook
    notebook_rules.check_update(backend, notebook, changes)
    notebook_rules.apply(notebook, changes)
    notebooks.changed(notebook)
    if failed:
        extra(notebook).restarting = True  # it is stopped, or on its way: it is started from there
    else:
        notebooks.restart(notebook)
    return notebook


def _delete(cls: Any, /, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str) -> None:
    """A stack's resource is stopped and deleted whatever its status is."""
    backend = sagemaker_backends[account_id][region_name]
    notebook = backend.notebook_instances.get(resource_name.rpartition("/")[2])
    if notebook is not None:
        stack_updates.retire(notebook)
        notebooks.drop(notebook)


def waits(notebook: Any) -> bool:
    """Whether a stack has to wait for it."""
    return extra(notebook).restarting or notebooks.status(notebook) in ("Pending", "Stopping", "Updating")


def settled(notebook: Any, failure: str = "") -> None:
    """Tell its stack, where it has one, that it is in service or never will be; call with moto's lock held.

    Parameters
    ----------
    notebook : FakeSagemakerNotebookInstance
    failure : str
        Why it is not in service; empty where it is.
    """
    tags = notebooks.tags_of(notebook)
    stack_id = tags.get(f"{_STACK_TAGS}stack-id")
    if not stack_id or (not failure and waits(notebook)):
        return
    from moto.cloudformation.models import cloudformation_backends

    stack = cloudformation_backends[notebooks.account_of(notebook)][notebook.region_name].stacks.get(stack_id)
    if stack is None:
        return
    if failure:
        stack_updates.failed(stack, notebook, failure)
    else:
        stack_updates.complete(stack)


def _update_config(
    cls: Any,
    /,
    original_resource: Any,
    new_resource_name: str,
    cloudformation_json: Any,
    account_id: str,
    region_name: str,
) -> Any:
    """In place; moto makes a new one of another age."""
    from moto.core.utils import utcnow

    properties = cloudformation_json["Properties"]
    named = properties.get("NotebookInstanceLifecycleConfigName")
    if named and named != original_resource.notebook_instance_lifecycle_config_name:
        backend = sagemaker_backends[account_id][region_name]
        made = cls.create_from_cloudformation_json(named, cloudformation_json, account_id, region_name)
        backend.delete_notebook_instance_lifecycle_config(original_resource.notebook_instance_lifecycle_config_name)
        return made
    original_resource.on_create, original_resource.on_start = properties.get("OnCreate"), properties.get("OnStart")
    original_resource.last_modified_time = utcnow()
    return original_resource


def install() -> None:
    """Lay the rules over moto. Once a process."""
    stack_updates.KINDS[FakeSagemakerNotebookInstance] = stack_updates.Kind(waits, notebooks.drop)
    rules: list[tuple[Any, str, Any]] = [
        (FakeSagemakerNotebookInstance, "create_from_cloudformation_json", classmethod(_create)),
        (FakeSagemakerNotebookInstance, "update_from_cloudformation_json", classmethod(_update)),
        (FakeSagemakerNotebookInstance, "delete_from_cloudformation_json", classmethod(_delete)),
        (FakeSagemakerNotebookInstance, "is_created", lambda self: not waits(self)),
        (
            FakeSagemakerNotebookInstance,
            "cloudformation_name_type",
            staticmethod(lambda: "NotebookInstanceName"),
        ),
        (FakeSageMakerNotebookInstanceLifecycleConfig, "update_from_cloudformation_json", classmethod(_update_config)),
        (
            FakeSageMakerNotebookInstanceLifecycleConfig,
            "cloudformation_name_type",
            staticmethod(lambda: "NotebookInstanceLifecycleConfigName"),
        ),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
