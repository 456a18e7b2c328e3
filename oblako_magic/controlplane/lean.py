"""What moto's imports do that nobody here needs, left out: the control plane answers in a second and not in ten.

Installed once, before moto is imported. Nothing that a client sees depends on it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any


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


def _fast_ids() -> None:
    """Moto draws an id digit by digit; a backend begins with 2,600 of them."""
    from moto.ec2 import utils
    from moto.moto_api._internal import mock_random

    def random_resource_id(size: int = 8) -> str:
        return f"{mock_random.getrandbits(4 * size):0{size}x}"

    utils.random_resource_id = random_resource_id


def install() -> None:
    """Make moto's imports quick. Before moto is imported; a second time changes nothing."""
    import boto3.session

    # JupyterLab brings it in, jsonschema then imports it for one format (iri) that only API Gateway's import of
    # OpenAPI documents checks, and it builds a grammar for ten seconds.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    session: Any = boto3.session.Session
    if not getattr(session.get_available_regions, "oblako", False):
        session.get_available_regions = _available_regions(session.get_available_regions)
        session.get_available_regions.oblako = True
        session.get_available_partitions = lambda self: list(_partitions())
    _fast_ids()
