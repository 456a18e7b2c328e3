"""What belongs to notebook instances and moto lacks: code repositories, and actions on lifecycle configurations."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import ConflictException, ValidationError
from moto.sagemaker.models import FakeSageMakerNotebookInstanceLifecycleConfig, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from . import notebook_params, notebooks
from .notebook_rules import check_tags, in_time, pages, request_params, strict

_SORT = {"Name": "name", "CreationTime": "creation_time", "LastModifiedTime": "last_modified_time"}
_LONGEST_SCRIPT = 16384


# -- lifecycle configurations -----------------------------------------------------------------------------


def _check_scripts(*given: list[dict[str, str]] | None) -> None:
    for hook in given:
        for entry in hook or []:
            text = entry.get("Content") or ""
            try:
                base64.b64decode(text, validate=strict.on)
            except (binascii.Error, ValueError):
                if not strict.on:
                    continue
                raise ValidationError(message="The lifecycle script is not encoded in base64.") from None
            if len(text) > _LONGEST_SCRIPT:
                raise ValidationError(message=f"The lifecycle script is longer than {_LONGEST_SCRIPT} characters.")


def _create_config(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_notebook_instance_lifecycle_config(
        self: Any, notebook_instance_lifecycle_config_name: str, on_create: Any, on_start: Any
    ) -> Any:
        _check_scripts(on_create, on_start)
        return original(self, notebook_instance_lifecycle_config_name, on_create, on_start)

    return create_notebook_instance_lifecycle_config


def _delete_config(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def delete_notebook_instance_lifecycle_config(self: Any, notebook_instance_lifecycle_config_name: str) -> None:
        name = notebook_instance_lifecycle_config_name
        users = [one for one in self.notebook_instances.values() if one.lifecycle_config_name == name]
        if users:
            raise ValidationError(
                message=f"Unable to delete Notebook Instance Lifecycle Config '{name}'. (Details: it is used by "
                f"{', '.join(one.arn for one in users)}.)"
            )
        original(self, name)

    return delete_notebook_instance_lifecycle_config


def _update_config(self: Any) -> Any:
    """UpdateNotebookInstanceLifecycleConfig; the next start of its notebook instances runs the new scripts."""
    notebook_params.check("UpdateNotebookInstanceLifecycleConfig", request_params(self), leave=("OnCreate", "OnStart"))
    name = self._get_param("NotebookInstanceLifecycleConfigName")
    backend = self.sagemaker_backend
    backend.describe_notebook_instance_lifecycle_config(name)  # raises where there is none
    config = backend.notebook_instance_lifecycle_configurations[name]
    on_create, on_start = self._get_param("OnCreate"), self._get_param("OnStart")
    _check_scripts(on_create, on_start)
    config.on_create = config.on_create if on_create is None else on_create
    config.on_start = config.on_start if on_start is None else on_start
    config.last_modified_time = utcnow()
    return EmptyResult()


def _list_configs(self: Any) -> Any:
    configs: list[FakeSageMakerNotebookInstanceLifecycleConfig] = list(
        self.sagemaker_backend.notebook_instance_lifecycle_configurations.values()
    )
    shown, token = _listed(
        self,
        "ListNotebookInstanceLifecycleConfigs",
        configs,
        lambda one: str(one.notebook_instance_lifecycle_config_name),
    )
    rows = [
        {
            "NotebookInstanceLifecycleConfigName": one.notebook_instance_lifecycle_config_name,
            "NotebookInstanceLifecycleConfigArn": one.arn,
            "CreationTime": one.creation_time,
            "LastModifiedTime": one.last_modified_time,
        }
        for one in shown
    ]
    return ActionResult({"NotebookInstanceLifecycleConfigs": rows, "NextToken": token})


def _listed(request: Any, operation: str, found: list[Any], name: Callable[[Any], str]) -> tuple[list[Any], str | None]:
    """The page of a List action that has the usual filters."""
    given = request_params(request)
    notebook_params.check(operation, {key: value for key, value in given.items() if "Time" not in key})
    part = request._get_param("NameContains") or ""
    found = [one for one in found if part in name(one) and in_time(request, one.creation_time, one.last_modified_time)]
    by = request._get_param("SortBy") or "CreationTime"
    found.sort(
        key=(lambda one: getattr(one, _SORT[by])) if by != "Name" else name,
        reverse=request._get_param("SortOrder") == "Descending",
    )
    return pages(request, found, name)


# -- code repositories ------------------------------------------------------------------------------------


class CodeRepository:
    """A Git repository with a name (API reference, CreateCodeRepository).

    Parameters
    ----------
    name, arn : str
    config : dict
        GitConfig.
    tags : list of dict
    """

    def __init__(self, name: str, arn: str, config: dict[str, str], tags: list[dict[str, str]]) -> None:
        self.name, self.arn, self.config, self.tags = name, arn, dict(config), tags
        self.creation_time = self.last_modified_time = utcnow()

    @property
    def url(self) -> str:
        """Where it is cloned from."""
        return str(self.config["RepositoryUrl"])

    @property
    def branch(self) -> str:
        """The branch that is checked out; empty is the repository's own choice."""
        return self.config.get("Branch") or ""

    def row(self) -> dict[str, Any]:
        """As DescribeCodeRepository has it."""
        return {
            "CodeRepositoryName": self.name,
            "CodeRepositoryArn": self.arn,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            "GitConfig": self.config,
        }


def _known(backend: Any) -> dict[str, CodeRepository]:
    return vars(backend).setdefault(notebooks.REPOSITORIES, {})  # type: ignore[no-any-return]


def _find(request: Any) -> CodeRepository:
    name = request._get_param("CodeRepositoryName")
    found = _known(request.sagemaker_backend).get(name)
    if found is None:
        raise ValidationError(message=f"Cannot find Code Repository: {name}")
    return found


def _create_repository(self: Any) -> Any:
    notebook_params.check("CreateCodeRepository", request_params(self))
    backend, name, tags = self.sagemaker_backend, self._get_param("CodeRepositoryName"), self._get_param("Tags")
    check_tags(tags)
    if name in _known(backend):
        raise ValidationError(message=f"Code Repository already exists: {_known(backend)[name].arn}")
    arn = f"arn:aws:sagemaker:{backend.region_name}:{backend.account_id}:code-repository/{name}"
    _known(backend)[name] = CodeRepository(name, arn, self._get_param("GitConfig"), list(tags or []))
    return ActionResult({"CodeRepositoryArn": arn})


def _describe_repository(self: Any) -> Any:
    return ActionResult(_find(self).row())


def _update_repository(self: Any) -> Any:
    """UpdateCodeRepository: only the secret may change."""
    found, config = _find(self), self._get_param("GitConfig") or {}
    if set(config) - {"SecretArn"}:
        raise ConflictException("Only SecretArn of a code repository can be changed.")
    found.config.update(config)
    found.last_modified_time = utcnow()
    return ActionResult({"CodeRepositoryArn": found.arn})


def _delete_repository(self: Any) -> Any:
    _known(self.sagemaker_backend).pop(_find(self).name)
    return EmptyResult()


def _list_repositories(self: Any) -> Any:
    found = list(_known(self.sagemaker_backend).values())
    shown, token = _listed(self, "ListCodeRepositories", found, lambda one: str(one.name))
    return ActionResult({"CodeRepositorySummaryList": [one.row() for one in shown], "NextToken": token})


# -- tags -------------------------------------------------------------------------------------------------


def _resource(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """What a tag is set on: also code repositories; moto breaks on what is not there."""

    @functools.wraps(original)
    def find(self: Any, arn: str) -> Any:
        kind, _, name = arn.rpartition(":")[2].partition("/")
        if kind == "code-repository":
            found = _known(self).get(name)
        else:
            try:
                found = original(self, arn)
            except (AttributeError, ValueError):
                found = None
        if found is None and kind in ("notebook-instance", "code-repository"):
            raise ValidationError(message="RecordNotFound")
        return found

    return find


def _add_tags(original: Callable[..., Any]) -> Callable[..., Any]:
    """A key that is there gets the new value (API reference, AddTags); moto has it twice then."""

    @functools.wraps(original)
    def add_tags(self: Any, arn: str, tags: list[dict[str, str]]) -> Any:
        check_tags(tags)
        resource = self._get_resource_from_arn(arn)
        if hasattr(resource, "tags"):
            new = {tag["Key"] for tag in tags}
            resource.tags = [tag for tag in resource.tags or [] if tag["Key"] not in new]
        return original(self, arn, tags)

    return add_tags


def install() -> None:
    """Lay it over moto. Once a process."""
    backend: Any = SageMakerModelBackend
    for name, better in (
        ("create_notebook_instance_lifecycle_config", _create_config),
        ("delete_notebook_instance_lifecycle_config", _delete_config),
        ("_get_resource_from_arn", _resource),
        ("add_tags", _add_tags),
    ):
        setattr(backend, name, better(getattr(backend, name)))
    for name, action in (
        ("update_notebook_instance_lifecycle_config", _update_config),
        ("list_notebook_instance_lifecycle_configs", _list_configs),
        ("create_code_repository", _create_repository),
        ("describe_code_repository", _describe_repository),
        ("update_code_repository", _update_repository),
        ("delete_code_repository", _delete_repository),
        ("list_code_repositories", _list_repositories),
    ):
        setattr(SageMakerResponse, name, action)
