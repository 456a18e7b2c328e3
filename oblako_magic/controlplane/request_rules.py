"""What holds for every EC2 request, whatever its action: DryRun, the version's namespace, pages.

Knows no instance and no engine.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import DryRunClientError, EC2ClientError
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.tags import TagResponse

from .. import names

_NAMESPACE = re.compile(r'xmlns="http://ec2\.amazonaws\.com/doc/[\d-]+/?"')
_VERSION = re.compile(r"\d{4}-\d\d-\d\d")
_HEAD = 400
"""Characters of an answer that its namespace is within."""
_LOOKS_FIRST = {"run_instances"}
"""Actions whose handler checks the request before it answers a dry run, and does nothing before."""
_MOST_RESULTS = 1000
_TAG_KEY, _TAG_VALUE = 128, 256
"""Characters at most."""


def _dry(request: Any, action: str) -> None:
    """A dry run ends here: most of moto's handlers would do it for real."""
    instance_ids = request._get_param("InstanceIds")
    if instance_ids and isinstance(instance_ids, list):
        request.ec2_backend.get_multi_instances_by_id(instance_ids)
    raise DryRunClientError()


def _call_action(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def call_action(self: Any) -> Any:
        if self._get_param("DryRun", False) in (True, "true", "True"):
            action = camelcase_to_underscores(self._get_action())
            if action not in _LOOKS_FIRST and hasattr(type(self), action):
                vars(self)[action] = functools.partial(_dry, self, action)
        status, headers, body = original(self)
        return status, headers, in_version(body, (self.querystring.get("Version") or [""])[0])

    return call_action


def in_version(body: Any, version: str) -> Any:
    """An answer in the namespace of the API version that was asked for; moto's is always the same old one."""
    if not isinstance(body, str) or not _VERSION.fullmatch(version):
        return body
    head = _NAMESPACE.sub(f'xmlns="http://ec2.amazonaws.com/doc/{version}/"', body[:_HEAD], count=1)
    return head + body[_HEAD:]


def _describe_instances(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """DescribeInstances in pages of MaxResults instances; moto counts reservations and breaks on an odd token."""

    @functools.wraps(original)
    def describe_instances(self: Any) -> Any:
        most = self._get_param("MaxResults")
        token = self._get_param("NextToken")
        instance_ids = self._get_param("InstanceIds", [])
        if instance_ids:
            if most is None:
                # Each once: EC2 takes a list that names one twice, moto breaks on it. Moto would stop at 100.
                self.params["InstanceIds"] = list(dict.fromkeys(instance_ids))
                self.params["MaxResults"] = len(instance_ids)
            return original(self)
        if most is not None and not 5 <= int(most) <= _MOST_RESULTS:
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Value ( {most} ) for parameter maxResults is invalid. Expecting a value from 5 to {_MOST_RESULTS}.",
            )
        reservations = self.ec2_backend.describe_instances(filters=self._filters_from_querystring())
        start = 0
        if token:
            known = [reservation.id for reservation in reservations]
            if token not in known:
                raise EC2ClientError("InvalidNextToken", "The specified NextToken is not valid.")
            start = known.index(token) + 1
        end, count = start, 0
        while end < len(reservations):
            count += len(reservations[end].instances)
            if count > int(most or _MOST_RESULTS) and end > start:
                break  # a reservation stays whole
            end += 1
        more = reservations[end - 1].id if end < len(reservations) else None
        return ActionResult({"Reservations": reservations[start:end], "NextToken": more})

    return describe_instances


def _check_tags(tags: dict[str, Any]) -> None:
    """Keys and values as EC2 takes them (EC2 user guide, "Tag restrictions")."""
    for key, value in tags.items():
        if str(key).lower().startswith("aws:"):
            raise EC2ClientError("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
        for what, text, most in (("key", key, _TAG_KEY), ("value", value or "", _TAG_VALUE)):
            # Parameters that EC2 does not have travel as tags (ADR 4): a command may be long.
            if len(str(text)) > most and not str(key).startswith(names.TAG_PREFIX):
                raise EC2ClientError(
                    "InvalidParameterValue", f"Tag {what} exceeds the maximum length of {most} characters"
                )


def _create_tags(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def create_tags(self: Any) -> Any:
        _check_tags({tag.get("Key", ""): tag.get("Value") for tag in self._get_param("Tags", [])})
        instances = [one for one in self._get_param("Resources", []) if str(one).startswith("i-")]
        if instances:
            self.ec2_backend.get_multi_instances_by_id(instances)  # moto tags what is not there
        return original(self)

    return create_tags


def _tag_specification(original: Callable[..., Any]) -> Callable[..., Any]:
    """The tags that a request gives to what it makes."""

    @functools.wraps(original)
    def parse(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(self, *args, **kwargs)
        for tags in found.values():
            if isinstance(tags, dict):
                _check_tags(tags)
        return found

    return parse


def install(strict: bool) -> None:
    """Lay the rules over moto. Once a process."""
    rules: list[tuple[type, str, Any]] = [
        (EC2BaseResponse, "call_action", _call_action(EC2BaseResponse.call_action)),
        (InstanceResponse, "describe_instances", _describe_instances(InstanceResponse.describe_instances)),
    ]
    if strict:
        rules += [
            (TagResponse, "create_tags", _create_tags(TagResponse.create_tags)),
            (EC2BaseResponse, "_parse_tag_specification", _tag_specification(EC2BaseResponse._parse_tag_specification)),
        ]
    for owner, name, rule in rules:
        setattr(owner, name, rule)
    # So RunInstances words it (API reference, examples); moto has an empty reason, and AWS none where there is none.
    words = {
        "RunInstances.Reservation.Instances.Instance.StateReason": lambda _: {"Code": "pending", "Message": "pending"},
        "Instances.Instance.StateReason": lambda reason: reason if reason and (reason.code or reason.message) else None,
    }
    EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.update(words)
