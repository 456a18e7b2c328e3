"""The actions of SageMaker's notebook instances, laid over moto's classes at start.

They change moto's records and ask for machines (``notebooks``); what really runs follows from there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeSagemakerNotebookInstance, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from .. import names
from ..guest import notebook as guest
from ..model import parse_publish
from ..settings import Settings
from . import notebook_params, notebook_view, notebooks
from .notebook_links import links
from .notebooks import extra

_INTERFACE = (
    "[Do not delete] Network Interface created to access resources in your VPC for SageMaker Notebook Instance "
)
_PLATFORM = "notebook-al2023-v1"
_SORT: dict[str, Callable[[Any], Any]] = {
    "Name": lambda one: one.notebook_instance_name,
    "CreationTime": lambda one: one.creation_time,
    "Status": notebooks.status,
}


# -- checks -----------------------------------------------------------------------------------------------


def check_tags(tags: list[dict[str, str]] | None) -> None:
    """Refuse tags that SageMaker has no use for, and ours that can't be used."""
    for tag in tags or []:
        try:
            if tag["Key"] == names.TAG_PUBLISH:
                parse_publish(tag["Value"])
            elif tag["Key"] == names.TAG_ENV:
                guest.valid_environment(tag["Value"])
        except ValueError as error:
            raise ValidationError(message=f"the tag {tag['Key']} can't be used: {error}") from error
        if tag["Key"] in (names.TAG_LIFETIME, names.TAG_IDLE) and not re.fullmatch(r"[1-9]\d{0,8}", tag["Value"]):
            raise ValidationError(message=f"the tag {tag['Key']} wants whole seconds, such as 3600.")


def _check_type(self: Any, instance_type: str) -> None:
    known = notebook_params.instance_types()
    if instance_type not in known:
        raise ValidationError(
            message=f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint: Member must satisfy enum "
            f"value set: [{', '.join(known)}]"
        )


def _check_volume(self: Any, volume_size_in_gb: Any) -> None:
    if volume_size_in_gb is not None and not 5 <= int(volume_size_in_gb) <= 16384:
        raise ValidationError(
            message=f"Invalid range for parameter VolumeSizeInGB, value: {volume_size_in_gb}, valid range: 5-16384"
        )


def _check_config(backend: Any, name: str | None) -> None:
    if strict.on and name and name not in backend.notebook_instance_lifecycle_configurations:
        backend.describe_notebook_instance_lifecycle_config(name)  # raises in moto's words


def check_repositories(backend: Any, *given: str | None) -> None:
    """Refuse names of code repositories that nobody has made."""
    known = vars(backend).get(notebooks.REPOSITORIES, {})
    for one in given:
        if one and not one.startswith("https://") and one not in known:
            raise ValidationError(message=f"Code repository {one} does not exist.")


class _Strict:
    """OBLAKO_EC2_STRICT: whether what a request names must exist."""

    on = True


strict = _Strict()
"""Of this process."""


def _check_network(account: str, region: str, subnet_id: str | None, groups: list[str] | None, internet: str) -> None:
    if not subnet_id:
        if internet == "Disabled":
            raise ValidationError(message="SubnetId is required when DirectInternetAccess is Disabled.")
        if groups:
            raise ValidationError(message="SubnetId is required when SecurityGroupIds are specified.")
        return
    if not strict.on:
        return
    backend: Any = ec2_backends[account][region]
    try:
        backend.get_subnet(subnet_id)
    except EC2ClientError as error:
        raise ValidationError(message=f"The subnet ID '{subnet_id}' does not exist") from error
    for group in groups or []:
        if backend.get_security_group_from_id(group) is None:
            raise ValidationError(message=f"The security group '{group}' does not exist")


# -- the backend ------------------------------------------------------------------------------------------


def _create(original: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    """CreateNotebookInstance, from whichever road: the record, its interface, its machine - or none of them."""

    @functools.wraps(original)
    def create_notebook_instance(
        self: Any, notebook_instance_name: str, instance_type: str, role_arn: str, **given: Any
    ) -> Any:
        more = given.pop("oblako", {})
        internet = given.get("direct_internet_access") or "Enabled"
        given["root_access"] = given.get("root_access") or "Enabled"
        repositories = (given.get("default_code_repository"), *(given.get("additional_code_repositories") or []))
        check_tags(given.get("tags"))
        _check_config(self, given.get("lifecycle_config_name"))
        check_repositories(self, *repositories)
        subnet, groups = given.get("subnet_id"), given.get("security_group_ids")
        _check_network(self.account_id, self.region_name, subnet, groups, internet)
        notebook = original(self, notebook_instance_name, instance_type, role_arn, **given)
        mine = extra(notebook)
        mine.platform = more.get("platform") or _PLATFORM
        mine.address_type = more.get("address_type") or "ipv4"
        mine.metadata_service = more.get("metadata_service") or {"MinimumInstanceMetadataServiceVersion": "1"}
        try:
            notebooks.launch(notebook, settings)
            if subnet and strict.on:
                mine.interface = _interface(notebook)
        except Exception:
            del self.notebook_instances[notebook_instance_name]
            if mine.machine is not None:
                mine.machine.terminate()
            raise
        return notebook

    return create_notebook_instance


def _interface(notebook: Any) -> str:
    """Make its network interface in the caller's subnet; the id."""
    backend: Any = ec2_backends[notebooks.account_of(notebook)][notebook.region_name]
    try:
        made = backend.create_network_interface(
            backend.get_subnet(notebook.subnet_id),
            [],
            group_ids=list(notebook.security_group_ids or []),
            description=_INTERFACE + notebook.arn,
        )
    except EC2ClientError as error:
        raise ValidationError(message=str(error.message)) from error
    return str(made.id)


def _start(settings: Settings) -> Callable[..., None]:
    def start_notebook_instance(self: Any, notebook_instance_name: str) -> None:
        notebooks.start(self.get_notebook_instance(notebook_instance_name), settings)

    return start_notebook_instance


def _stop(self: Any, notebook_instance_name: str) -> None:
    notebooks.stop(self.get_notebook_instance(notebook_instance_name))


def _delete(self: Any, notebook_instance_name: str) -> None:
    notebooks.delete(self.get_notebook_instance(notebook_instance_name))


def update(backend: Any, notebook: Any, changes: dict[str, Any]) -> None:
    """UpdateNotebookInstance; what it changes is what the next start finds.

    Parameters
    ----------
    backend : SageMakerModelBackend
    notebook : FakeSagemakerNotebookInstance
    changes : dict
        The request's parameters.
    """
    notebooks.demand(notebook, "Updating", "Stopped", "Failed")
    check_update(backend, notebook, changes)
    apply(notebook, changes)
    notebooks.changed(notebook)
    extra(notebook).updating = True


def check_update(backend: Any, notebook: Any, changes: dict[str, Any]) -> None:
    """Refuse an update for what it asks for."""
    if changes.get("InstanceType"):
        notebook.validate_instance_type(changes["InstanceType"])
    size = changes.get("VolumeSizeInGB")
    if size is not None:
        notebook.validate_volume_size_in_gb(size)
        if size < notebook.volume_size_in_gb:
            raise ValidationError(
                message=f"The requested VolumeSizeInGB ({size}) is smaller than the current one "
                f"({notebook.volume_size_in_gb}): a volume can't be made smaller."
            )
    for what, name in (
        ("LifecycleConfigName", "DisassociateLifecycleConfig"),
        ("DefaultCodeRepository", "DisassociateDefaultCodeRepository"),
        ("AdditionalCodeRepositories", "DisassociateAdditionalCodeRepositories"),
        ("AcceleratorTypes", "DisassociateAcceleratorTypes"),
    ):
        if changes.get(what) and changes.get(name):
            raise ValidationError(message=f"{what} and {name} can't be given together.")
    _check_config(backend, changes.get("LifecycleConfigName"))
    check_repositories(
        backend, changes.get("DefaultCodeRepository"), *(changes.get("AdditionalCodeRepositories") or [])
    )


def apply(notebook: Any, changes: dict[str, Any]) -> None:
    """Change its record as an UpdateNotebookInstance says."""
    for what, attribute in (
        ("InstanceType", "instance_type"),
        ("RoleArn", "role_arn"),
        ("LifecycleConfigName", "lifecycle_config_name"),
        ("VolumeSizeInGB", "volume_size_in_gb"),
        ("DefaultCodeRepository", "default_code_repository"),
        ("AdditionalCodeRepositories", "additional_code_repositories"),
        ("AcceleratorTypes", "accelerator_types"),
        ("RootAccess", "root_access"),
    ):
        if changes.get(what) is not None:
            setattr(notebook, attribute, changes[what])
    for name, attribute in (
        ("DisassociateLifecycleConfig", "lifecycle_config_name"),
        ("DisassociateDefaultCodeRepository", "default_code_repository"),
        ("DisassociateAdditionalCodeRepositories", "additional_code_repositories"),
        ("DisassociateAcceleratorTypes", "accelerator_types"),
    ):
        if changes.get(name):
            setattr(notebook, attribute, None)
    mine = extra(notebook)
    mine.platform = changes.get("PlatformIdentifier") or mine.platform
    mine.address_type = changes.get("IpAddressType") or mine.address_type
    mine.metadata_service = changes.get("InstanceMetadataServiceConfiguration") or mine.metadata_service
    if mine.machine is not None and changes.get("InstanceType"):
        mine.machine.instance_type = notebooks.machine_type(notebook.instance_type)


def _describe(original: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    @functools.wraps(original)
    def to_dict(self: Any) -> dict[str, Any]:
        mine = extra(self)
        found = {
            **original(self),
            "NotebookInstanceStatus": notebooks.status(self),
            "FailureReason": notebooks.failure_reason(self) or None,
            "NetworkInterfaceId": mine.interface or None,
            "PlatformIdentifier": mine.platform or None,
            "IpAddressType": mine.address_type or None,
            "InstanceMetadataServiceConfiguration": mine.metadata_service,
            "AdditionalCodeRepositories": self.additional_code_repositories or None,
        }
        return {key: value for key, value in found.items() if value is not None}

    return to_dict


# -- requests ---------------------------------------------------------------------------------------------


def request_params(request: Any) -> dict[str, Any]:
    """The request's parameters as they came."""
    import json

    try:
        found = json.loads(request.body or "{}")
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _refuse_reserved(tags: list[dict[str, str]] | None) -> None:
    if any(tag["Key"].lower().startswith("aws:") for tag in tags or []):
        raise ValidationError(message="Tag keys that begin with aws: are reserved for AWS.")


def _create_request(self: Any) -> Any:
    _refuse_reserved(self._get_param("Tags"))
    notebook_params.check(
        "CreateNotebookInstance", request_params(self), leave=("InstanceType", "VolumeSizeInGB", "AcceleratorTypes")
    )
    notebook = self.sagemaker_backend.create_notebook_instance(
        notebook_instance_name=self._get_param("NotebookInstanceName"),
        instance_type=self._get_param("InstanceType"),
        role_arn=self._get_param("RoleArn"),
        subnet_id=self._get_param("SubnetId"),
        security_group_ids=self._get_param("SecurityGroupIds"),
        kms_key_id=self._get_param("KmsKeyId"),
        tags=self._get_param("Tags"),
        lifecycle_config_name=self._get_param("LifecycleConfigName"),
        direct_internet_access=self._get_param("DirectInternetAccess"),
        volume_size_in_gb=self._get_param("VolumeSizeInGB"),
        accelerator_types=self._get_param("AcceleratorTypes"),
        default_code_repository=self._get_param("DefaultCodeRepository"),
        additional_code_repositories=self._get_param("AdditionalCodeRepositories"),
        root_access=self._get_param("RootAccess"),
        oblako={
            "platform": self._get_param("PlatformIdentifier"),
            "address_type": self._get_param("IpAddressType"),
            "metadata_service": self._get_param("InstanceMetadataServiceConfiguration"),
        },
    )
    return ActionResult({"NotebookInstanceArn": notebook.arn})


def _update_request(self: Any) -> Any:
    notebook_params.check(
        "UpdateNotebookInstance", request_params(self), leave=("InstanceType", "VolumeSizeInGB", "AcceleratorTypes")
    )
    backend = self.sagemaker_backend
    update(backend, backend.get_notebook_instance(self._get_param("NotebookInstanceName")), request_params(self))
    return EmptyResult()


def _presign(self: Any) -> Any:
    """CreatePresignedNotebookInstanceUrl: a link for this machine's browser that works once, within five minutes."""
    notebook_params.check("CreatePresignedNotebookInstanceUrl", request_params(self))
    notebook = self.sagemaker_backend.get_notebook_instance(self._get_param("NotebookInstanceName"))
    now = notebooks.status(notebook)
    if now != "InService":
        raise ValidationError(
            message=f"Status ({now}) not in ([InService]). Unable to create a URL for Notebook Instance "
            f"({notebook.arn})."
        )
    if not notebook_view.server_url(notebook):
        raise ValidationError(message=f"Notebook Instance ({notebook.arn}) is simulated: it has no server to open.")
    path = links.make(notebook.arn, notebooks.start_of(extra(notebook).machine))
    return ActionResult({"AuthorizedUrl": f"{endpoint.url}{path}"})


class _Endpoint:
    """Where this control plane is reached by a browser of this machine; known once it listens."""

    url = ""


endpoint = _Endpoint()


def when(value: Any) -> datetime | None:
    """A time of a request."""
    if value is None or isinstance(value, datetime):
        found = value
    elif isinstance(value, (int, float)):
        found = datetime.fromtimestamp(value, timezone.utc)
    else:
        text = str(value).replace("Z", "+00:00")
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = datetime.fromtimestamp(float(text), timezone.utc)
    return found.replace(tzinfo=timezone.utc) if found is not None and found.tzinfo is None else found


def in_time(request: Any, made: datetime, modified: datetime) -> bool:
    """Whether something falls into the times that a List request asks for."""
    for name, moment in (("CreationTime", made), ("LastModifiedTime", modified)):
        moment = when(moment) or moment
        before, after = when(request._get_param(f"{name}Before")), when(request._get_param(f"{name}After"))
        if (before is not None and moment >= before) or (after is not None and moment <= after):
            return False
    return True


def pages(request: Any, found: list[Any], key: Callable[[Any], str]) -> tuple[list[Any], str | None]:
    """A page of a List request's answer, and the token of the next."""
    most, token, start = int(request._get_param("MaxResults") or 10), request._get_param("NextToken"), 0
    if token:
        known = [key(one) for one in found]
        if token not in known:
            raise ValidationError(message="Invalid NextToken.")
        start = known.index(token)
    rest = found[start + most :]
    return found[start : start + most], key(rest[0]) if rest else None


def _list_request(self: Any) -> Any:
    """ListNotebookInstances with all of its filters."""
    notebook_params.check("ListNotebookInstances", {k: v for k, v in request_params(self).items() if "Time" not in k})
    wanted = self._get_param
    found = [
        one
        for one in self.sagemaker_backend.notebook_instances.values()
        if (wanted("NameContains") or "") in one.notebook_instance_name
        and wanted("StatusEquals") in (None, notebooks.status(one))
        and (wanted("NotebookInstanceLifecycleConfigNameContains") or "") in (one.lifecycle_config_name or "")
        and (wanted("DefaultCodeRepositoryContains") or "") in (one.default_code_repository or "")
        and wanted("AdditionalCodeRepositoryEquals") in (None, *(one.additional_code_repositories or []))
        and in_time(self, one.creation_time, one.last_modified_time)
    ]
    found.sort(key=_SORT[wanted("SortBy") or "Name"], reverse=wanted("SortOrder") == "Descending")
    shown, token = pages(self, found, lambda one: str(one.notebook_instance_name))
    return ActionResult({"NotebookInstances": [one.to_dict() for one in shown], "NextToken": token})


def install(settings: Settings) -> None:
    """Lay the rules over moto. Once a process."""
    strict.on = settings.strict
    book: Any = FakeSagemakerNotebookInstance
    rules: list[tuple[type, str, Any]] = [
        (book, "validate_instance_type", _check_type),
        (book, "validate_volume_size_in_gb", _check_volume),
        (book, "status", property(notebooks.status, lambda self, value: vars(self).__setitem__("status", value))),
        (book, "to_dict", _describe(book.to_dict)),
        (
            SageMakerModelBackend,
            "create_notebook_instance",
            _create(SageMakerModelBackend.create_notebook_instance, settings),
        ),
        (SageMakerModelBackend, "start_notebook_instance", _start(settings)),
        (SageMakerModelBackend, "stop_notebook_instance", _stop),
        (SageMakerModelBackend, "delete_notebook_instance", _delete),
        (SageMakerResponse, "create_notebook_instance", _create_request),
        (SageMakerResponse, "update_notebook_instance", _update_request),
        (SageMakerResponse, "list_notebook_instances", _list_request),
        (SageMakerResponse, "create_presigned_notebook_instance_url", _presign),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
