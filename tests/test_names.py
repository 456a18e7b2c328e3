"""Names and labels are the design's."""

from __future__ import annotations

import pytest

from oblako_magic import names


def test_names_are_the_designs() -> None:
    assert names.container_name("i-0abc") == "oblako-ec2-i-0abc"
    assert names.root_volume_name("i-0abc") == "oblako-ec2-i-0abc"
    assert names.volume_name("vol-1") == "oblako-ebs-vol-1"
    assert (names.LABEL_INSTANCE, names.LABEL_SERVICE, names.SERVICE_EC2) == (
        "oblako.ec2.instance-id",
        "oblako.service",
        "ec2",
    )
    assert (names.ROOT_MOUNT, names.DEFAULT_IMAGE, names.HOST_ALIAS) == (
        "/ebs",
        "amazonlinux:2023",
        "host.docker.internal",
    )


@pytest.mark.parametrize(
    ("name", "instance_id"),
    [
        ("oblako-ec2-i-0abc", "i-0abc"),
        ("/oblako-ec2-i-0abc", "i-0abc"),
        ("oblako-ec2-", None),
        ("oblako-ebs-vol-1", None),
        ("my-oblako-ec2-i-0abc", None),
        ("", None),
    ],
)
def test_an_instance_id_is_read_back_from_a_name(name: str, instance_id: str | None) -> None:
    assert names.instance_id_of(name) == instance_id


def test_host_names_are_ec2s() -> None:
    assert names.hostname("10.0.0.4") == "ip-10-0-0-4"
