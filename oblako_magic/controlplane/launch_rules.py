"""What EC2 checks before it launches anything: the client token, the names in the request, the room there is.

Laid over moto's request and backend at start, around ``semantics``. The checks of a launch are on the backend, so that
they hold on every road; ``OBLAKO_EC2_STRICT=off`` leaves out those of names that moto does not look at.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import InstanceBackend, Reservation
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import random_reservation_id

from .. import catalog
from . import capacity, memberships, templates
from .instance_calls import check_metadata_options, check_user_data
from .records import erase
from .semantics import ami_for

TOKENS = "oblako_tokens"
"""Attribute of an EC2 backend: client token to (digest of its request, reservation id); saved along with it."""
_TOKENS_KEPT = 10_000
_INTERNAL_KEYS = {"AWS_OWNED"}
"""Key pairs of other services' instances (Batch), which nobody made in EC2."""
BEHAVIORS = ("stop", "terminate")
"""InstanceInitiatedShutdownBehavior."""


@dataclass(frozen=True)
class _Asked:
    """What a RunInstances asks for that moto's handler does not hand on."""

    least: int
    protected: bool


_asked: ContextVar[_Asked | None] = ContextVar("asked", default=None)
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


_shortages: ContextVar[list[str] | None] = ContextVar("shortages", default=None)


@contextmanager
def tolerant() -> Iterator[list[str]]:
    """Launches in here are a service's (a group, a fleet), which takes what there is room for and no error.

    What was missing is told in the list that is given. A launch without any room answers a reservation of nothing.
    """
    before, mine = _shortages.get(), list[str]()
    token = _shortages.set(mine)
    try:
        yield mine
    finally:
        _shortages.reset(token)
        if before is not None:
            before += mine


_version: ContextVar[str | None] = ContextVar("version", default=None)


@contextmanager
def of_version(version: str | None) -> Iterator[None]:
    """Launches in here that name a launch template mean this version of it: moto's groups leave it out."""
    token = _version.set(version)
    try:
        yield
    finally:
        _version.reset(token)


@contextmanager
def trusted() -> Iterator[None]:
    """Launches in here are no client's: a record that is made anew is what it was, whatever exists by now."""
    before = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(before)


# -- names ------------------------------------------------------------------------------------------------


def _check_image(backend: Any, image_id: str | None) -> None:
    if not image_id:
        raise EC2ClientError("MissingParameter", "The request must contain the parameter ImageId")
    if image_id in backend.amis:
        return
    if not catalog.is_exact_ami_id(image_id):
        raise EC2ClientError("InvalidAMIID.Malformed", f'Invalid id: "{image_id}"')
    if image_id in backend.deleted_amis:
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image id '[{image_id}]' is no longer available")
    raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")


def _check_groups(backend: Any, named: Any, kwargs: dict[str, Any]) -> None:
    """Always: moto breaks on a group that it does not know."""
    groups = [*(named or []), *(kwargs.get("security_group_ids") or [])]
    for nic in kwargs.get("nics") or []:
        groups += nic.get("Groups") or []
    for group in groups:
        if isinstance(group, str) and backend.get_security_group_by_name_or_id(group) is None:
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group}' does not exist")


def check(backend: Any, image_id: str | None, named_groups: Any, kwargs: dict[str, Any], *, strict: bool) -> None:
    """Refuse a launch for what it names.

    Parameters
    ----------
    backend : moto.ec2.models.EC2Backend
    image_id : str or None
        Of an AMI, resolved.
    named_groups : list of str
    kwargs : dict
        The other arguments of moto's ``run_instances``, the launch template's filled in.
    strict : bool
        Whether the AMI, the instance type and the key pair must exist.

    Raises
    ------
    EC2ClientError
        With the code and the words that EC2 answers.
    """
    behavior = kwargs.get("instance_initiated_shutdown_behavior")
    if behavior and behavior not in BEHAVIORS:
        raise EC2ClientError(
            "InvalidParameterValue", f"Value ({behavior}) for parameter instanceInitiatedShutdownBehavior is invalid."
        )
    check_metadata_options(kwargs.get("metadata_options") or {})
    _check_groups(backend, named_groups, kwargs)
    if not strict:
        return
    kind = kwargs.get("instance_type")
    if kind and kind not in INSTANCE_TYPES:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    _check_image(backend, image_id)
    key = kwargs.get("key_name")
    if key and key not in backend.key_pairs and key not in _INTERNAL_KEYS:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")


def _check_profile(request: Any, backend: Any) -> None:
    """Moto answers with IAM's error, which RunInstances does not have."""
    given = {"Name": request._get_param("IamInstanceProfile.Name"), "Arn": request._get_param("IamInstanceProfile.Arn")}
    templates.profile_of({"IamInstanceProfile": given}, {}, backend, strict=True)


# -- the client token -------------------------------------------------------------------------------------


def _digest(parameters: Any) -> str:
    """The same for the same request, whatever the order of its parameters."""
    rest = {key: value for key, value in dict(parameters).items() if key not in ("ClientToken", "DryRun")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _launched_before(backend: Any, token: str, digest: str) -> Any:
    """The reservation that the token got; None for a new one. It is remembered as long as that can be described."""
    found = vars(backend).get(TOKENS, {}).get(token)
    reservation = backend.reservations.get(found[1]) if found else None
    if reservation is None:
        return None
    if found[0] != digest:
        raise EC2ClientError(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        )
    return reservation


def _remember(backend: Any, token: str, digest: str, reservation_id: str) -> None:
    tokens = vars(backend).setdefault(TOKENS, {})
    tokens[token] = (digest, reservation_id)
    while len(tokens) > _TOKENS_KEPT:
        del tokens[next(iter(tokens))]


def forget_token(backend: Any, reservation_id: str) -> None:
    """The reservation is gone, and its token with it."""
    tokens = vars(backend).get(TOKENS, {})
    for token in [key for key, (_, kept) in tokens.items() if kept == reservation_id]:
        del tokens[token]


# -- laid over moto ---------------------------------------------------------------------------------------


def _run_request(original: Callable[[Any], Any], strict: bool) -> Callable[[Any], Any]:
    """RunInstances (EC2 API reference; "Ensuring idempotency in Amazon EC2 API requests")."""

    @functools.wraps(original)
    def run_instances(self: Any) -> Any:
        backend, token = self.ec2_backend, self._get_param("ClientToken")
        if token and (len(token) > 64 or not token.isascii()):
            raise EC2ClientError("InvalidClientToken", "The client token must be at most 64 ASCII characters.")
        if strict:
            _check_profile(self, backend)
        if self._get_param("DryRun", False):
            _dry_run(self, backend, strict)
            return original(self)
        digest = _digest(self.params)
        known = _launched_before(backend, token, digest) if token else None
        if known is not None:
            return ActionResult(known)
        asked = _Asked(
            int(self._get_param("MinCount", 1)), templates.truth(self._get_param("DisableApiTermination", False))
        )
        before = _asked.set(asked)
        try:
            result = original(self)
        finally:
            _asked.reset(before)
        for instance in result.result.instances[1:]:  # moto has associated the first one
            name, arn = self._get_param("IamInstanceProfile.Name"), self._get_param("IamInstanceProfile.Arn")
            if name or arn:
                backend.associate_iam_instance_profile(
                    instance.id, iam_instance_profile_name=name, iam_instance_profile_arn=arn
                )
        if token:
            _remember(backend, token, digest, result.result.id)
        return result

    return run_instances


def _dry_run(request: Any, backend: Any, strict: bool) -> None:
    """Moto answers a dry run before it has looked at anything."""
    kwargs = {
        "instance_type": request._get_param("InstanceType"),
        "is_instance_type_default": not request._get_param("InstanceType"),
        "key_name": request._get_param("KeyName"),
        "security_group_ids": request._get_param("SecurityGroupIds", []),
        "nics": request._get_param("NetworkInterfaces", []),
        "subnet_id": request._get_param("SubnetId"),
        "launch_template": request._get_param("LaunchTemplate", {}),
        "instance_initiated_shutdown_behavior": request._get_param("InstanceInitiatedShutdownBehavior"),
    }
    template = templates.data_of(backend, kwargs)
    templates.fill_in(template, kwargs)
    image_id = request._get_param("ImageId") or template.get("ImageId")
    if image_id and (catalog.is_ami_id(image_id) or image_id.startswith("resolve:")):
        image_id = ami_for(backend, image_id)
    elif image_id:
        strict = False  # a container image: its AMI is made by a launch alone
    check(backend, image_id, request._get_param("SecurityGroups", []), kwargs, strict=strict)


def _launch(original: Callable[..., Any], strict: bool, limit: capacity.Limit) -> Callable[..., Any]:
    """The backend's ``run_instances``: what every road into it passes."""

    @functools.wraps(original)
    def run_instances(
        self: Any, image_id: str, count: int, user_data: Any, security_group_names: Any, **kwargs: Any
    ) -> Any:
        if _trusted.get():
            return original(self, image_id, count, user_data, security_group_names, **kwargs)
        asked, version = _asked.get(), _version.get()
        if version and kwargs.get("launch_template"):
            kwargs["launch_template"] = {"Version": version, **kwargs["launch_template"]}
        template = templates.data_of(self, kwargs)
        if asked is not None and asked.protected:
            kwargs["disable_api_termination"] = True
        templates.fill_in(template, kwargs, by_request=asked is not None)
        profile = templates.profile_of(template, kwargs, self, strict=strict)
        image_id = ami_for(self, image_id or template.get("ImageId")) or image_id
        named = security_group_names or template.get("SecurityGroups")
        check_user_data(user_data)
        check(self, image_id, named, kwargs, strict=strict)
        least = count if asked is None else asked.least
        kind, shortages = kwargs.get("instance_type") or "m1.small", _shortages.get()
        if shortages is None:
            count = capacity.room(limit(), kind, least, count)
        else:
            wanted, count = count, capacity.fitting(limit(), kind, count)
            if count < wanted:
                shortages.append(capacity.shortage(kind, wanted, count))
            if not count:
                return Reservation(random_reservation_id(), self.account_id)
        before = set(self.reservations)
        try:
            reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
            for instance in reservation.instances:
                memberships.join_default(instance)
                if profile:
                    self.associate_iam_instance_profile(instance.id, iam_instance_profile_arn=profile)
            return reservation
        except Exception:
            # Moto registers a reservation first and fills it then: nothing half-made may stay.
            for key in [key for key in self.reservations if key not in before]:
                for instance in list(self.reservations[key].instances):
                    erase(instance)
                self.reservations.pop(key, None)
            raise

    return run_instances


def _template(original: Callable[..., Any]) -> Callable[..., Any]:
    """A launch template that is not there (EC2 API error codes); moto breaks on its id."""

    @functools.wraps(original)
    def find(self: Any, given: dict[str, Any]) -> Any:
        template_id = given.get("LaunchTemplateId")
        if template_id and not self.describe_launch_templates(template_ids=[template_id]):
            raise EC2ClientError(
                "InvalidLaunchTemplateId.NotFound",
                f"The specified launch template, with template ID {template_id}, does not exist.",
            )
        return original(self, given)

    return find


def install(strict: bool, limit: capacity.Limit) -> None:
    """Lay the rules over moto, after ``semantics.install``. Once a process."""
    rules: list[tuple[type, str, Any]] = [
        (InstanceResponse, "run_instances", _run_request(InstanceResponse.run_instances, strict)),
        (InstanceBackend, "run_instances", _launch(InstanceBackend.run_instances, strict, limit)),
        (InstanceBackend, "_get_template_from_args", _template(InstanceBackend._get_template_from_args)),
    ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
