"""Which container image stands for an AMI."""

from __future__ import annotations

import re

import pytest

from oblako_magic import catalog


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("al2023-ami-2023.5.20240805.0-kernel-6.1-x86_64", "amazonlinux:2023"),
        ("amzn2-ami-hvm-2.0.20230207.0-x86_64-gp2", "amazonlinux:2"),
        ("amzn-ami-hvm-2018.03.0.20181129-x86_64-gp2", "amazonlinux:1"),
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20240821", "ubuntu:24.04"),
        ("ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20230207", "ubuntu:22.04"),
        ("debian-12-amd64-20240717-1811", "debian:12"),
        ("debian-13-amd64", "debian:13"),
        ("my-al2023-ami", None),
        ("Windows_Server-2022-English-Full-Base", None),
        ("", None),
        (None, None),
    ],
)
def test_names_of_public_amis_map_to_their_container_images(name: str | None, image: str | None) -> None:
    assert catalog.image_for_ami_name(name) == image


def test_every_ami_of_the_catalog_maps_to_its_own_image() -> None:
    assert [catalog.image_for_ami_name(ami.name) for ami in catalog.AMIS] == [ami.image for ami in catalog.AMIS]


def test_ids_and_parameters_are_proper_and_apart() -> None:
    assert all(re.fullmatch(r"ami-[0-9a-f]{17}", ami.ami_id) for ami in catalog.AMIS)
    assert all(ami.parameter.startswith("/aws/service/") for ami in catalog.AMIS)
    for field in ("ami_id", "name", "parameter"):
        assert len({getattr(ami, field) for ami in catalog.AMIS}) == len(catalog.AMIS)


def test_an_images_ami_id_is_the_same_always() -> None:
    # Written down: with another id, whoever kept one would find nothing.
    assert catalog.image_ami_id("ubuntu:24.04") == "ami-19a0a084b9b98c04a"
    assert catalog.image_ami_id("ubuntu:22.04") != catalog.image_ami_id("ubuntu:24.04")


@pytest.mark.parametrize(
    ("text", "ami"),
    [
        ("ami-12c6146b", True),
        ("ami-0123456789abcdef0", True),
        ("ubuntu:24.04", False),
        ("ami", False),
        ("ami-x/y", False),
        ("", False),
    ],
)
def test_ami_ids_are_told_from_container_images(text: str, ami: bool) -> None:
    assert catalog.is_ami_id(text) is ami
