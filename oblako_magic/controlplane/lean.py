"""What moto does at every import and every call that nobody here needs, left out or remembered.

Installed once, before moto is imported: the control plane then answers in a second and not in ten, and moto's lock
is held for a third of the time. No answer that a client sees depends on it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

# -- start ------------------------------------------------------------------------------------------------


@functools.cache
def _session() -> Any:
    """One session for all: which regions there are does not depend on whose it is."""
    import boto3.session

    return boto3.session.Session()


@functools.cache
def _partitions() -> tuple[str, ...]:
    return tuple(_session()._session.get_available_partitions())


def _available_regions(original: Any) -> Any:
    @functools.cache
    def look_up(service: str, partition: str, non_regional: bool) -> tuple[str, ...]:
        if service == "ec2":
            # Asked by name, botocore would read the whole model of EC2 for its endpoint's prefix, which is the name.
            resolver = _session()._session.get_component("endpoint_resolver")
            return tuple(resolver.get_available_endpoints(service, partition, non_regional))
        return tuple(original(_session(), service, partition, non_regional))

    def get_available_regions(
        self: Any, service_name: str, partition_name: str = "aws", allow_non_regional: bool = False
    ) -> list[str]:
        return list(look_up(service_name, partition_name, allow_non_regional))

    return get_available_regions


def _random_resource_id(size: int = 8) -> str:
    """Moto draws an id digit by digit; a backend begins with 2,600 of them."""
    from moto.moto_api._internal import mock_random

    return f"{mock_random.getrandbits(4 * size):0{size}x}"


# -- calls ------------------------------------------------------------------------------------------------


def _possible_keys(original: Callable[..., Any]) -> Callable[..., Any]:
    """Under which names a member of an answer may be found: the same for every object of a class.

    Moto derives up to twelve for every member of every record anew, four fifths of what DescribeInstances takes.
    """
    from moto.core.serialize import DEFAULT_ALIAS_PROVIDERS

    known: dict[tuple[Any, ...], tuple[str, ...]] = {}

    @functools.wraps(original)
    def get_possible_keys(self: Any, context: Any) -> Any:
        if self.alias_providers is not DEFAULT_ALIAS_PROVIDERS:
            return original(self, context)
        place = (context.shape, context.key, type(context.obj))
        found = known.get(place)
        if found is None:
            found = known[place] = tuple(dict.fromkeys(original(self, context)))
        return found

    return get_possible_keys


def _describe_tags(original: Callable[..., Any]) -> Callable[..., Any]:
    """One resource's tags without a look at all others': every record of an answer asks for its own."""
    from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

    @functools.wraps(original)
    def describe_tags(self: Any, filters: dict[str, list[str]] | None = None) -> Any:
        if filters is None or set(filters) != {"resource-id"} or len(filters["resource-id"]) != 1:
            return original(self, filters)
        (resource_id,) = filters["resource-id"]
        if not resource_id.replace("-", "").isalnum():
            return original(self, filters)  # a pattern
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource_id), "")
        return [
            {"resource_id": resource_id, "key": key, "value": value, "resource_type": kind}
            for key, value in self.tags.get(resource_id, {}).items()
        ]

    return describe_tags


def _describe_images(original: Callable[..., Any]) -> Callable[..., Any]:
    """The AMI of an instance by its key; moto matches its id against all 1,300 as a pattern."""

    @functools.wraps(original)
    def describe_images(
        self: Any, ami_ids: Any = None, filters: Any = None, exec_users: Any = None, owners: Any = None
    ) -> Any:
        wanted = filters.get("image-id") if filters and len(filters) == 1 else None
        if isinstance(wanted, str) and wanted in self.amis and not (ami_ids or exec_users or owners):
            return [self.amis[wanted]]
        return original(self, ami_ids, filters, exec_users, owners)

    return describe_images


def _matches_filters(original: Callable[..., Any]) -> Callable[..., Any]:
    """RunInstances asks of all 800 types whether they are the one."""

    @functools.wraps(original)
    def matches_filters(self: Any, offering: dict[str, Any], filters: Any, location_type: str) -> Any:
        if len(filters) == 1 and "instance-type" in filters:
            return offering.get("InstanceType") in filters["instance-type"]
        return original(self, offering, filters, location_type)

    return matches_filters


def _reset(self: Any) -> None:
    """Empty it: moto makes the 1,300 AMIs of every region anew at a reset, and throws the whole backend away next.

    Moto's caches hold on to backends for ever, so that one with anything in it would never be freed.
    """
    self.__dict__ = {"region_name": self.region_name, "account_id": self.account_id}


def _living(cls: Any) -> Iterator[Any]:
    """The backends that a peering may reach: moto asks every one that was ever made, emptied ones, too."""
    from moto.ec2.models import ec2_backends

    for accounts in list(dict.values(ec2_backends)):
        yield from list(dict.values(accounts))


def install() -> None:
    """Lay it over boto3 and moto. Once a process, before moto is imported."""
    import boto3.session

    # JupyterLab brings it in, jsonschema then imports it for one format (iri) that only API Gateway's import of
    # OpenAPI documents checks, and it builds a grammar for ten seconds.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    session: Any = boto3.session.Session
    session.get_available_regions = _available_regions(session.get_available_regions)
    session.get_available_partitions = lambda self: list(_partitions())

    from moto import backends
    from moto.core import responses
    from moto.core import utils as core_utils
    from moto.core.serialize import XFormedAttributePicker
    from moto.ec2 import utils
    from moto.ec2.models import EC2Backend, amis, instance_types, tags

    for owner, name, better in (
        (XFormedAttributePicker, "get_possible_keys", _possible_keys),
        (tags.TagBackend, "describe_tags", _describe_tags),
        (amis.AmiBackend, "describe_images", _describe_images),
        (instance_types.InstanceTypeOfferingBackend, "matches_filters", _matches_filters),
    ):
        setattr(owner, name, better(getattr(owner, name)))
    EC2Backend.reset = _reset  # type: ignore[method-assign]
    for name in ("get_vpc_pcx_refs", "_get_peering_attachment_backend_refs"):
        setattr(EC2Backend, name, classmethod(_living))
    utils.random_resource_id = _random_resource_id
    # Both are asked at every call: a walk over moto's folder, and over the methods of a class.
    modules = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    responses.method_names_from_class = functools.cache(core_utils.method_names_from_class)  # type: ignore[attr-defined]
