"""Which container image stands for an AMI, and which AMIs exist beside moto's own. Pure; no I/O."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogAmi:
    """A public AMI that moto does not bring.

    Parameters
    ----------
    ami_id : str
        Made from the name, so that it is the same everywhere and always.
    name : str
        The AMI's name as its publisher writes it, without the build's date.
    image : str
        The container image that stands for it.
    owner_id : str
        The publisher's account.
    description : str
    parameter : str
        The public SSM parameter that names the latest such AMI.
    """

    ami_id: str
    name: str
    image: str
    owner_id: str
    description: str
    parameter: str


_CANONICAL, _DEBIAN = "099720109477", "136693071363"


def image_ami_id(image: str) -> str:
    """The AMI id under which a container image is registered when it is named in place of an AMI."""
    return "ami-" + hashlib.sha256(image.encode()).hexdigest()[:17]


def _ubuntu(release: str, codename: str) -> CatalogAmi:
    return CatalogAmi(
        image_ami_id(f"catalog ubuntu {release}"),
        f"ubuntu/images/hvm-ssd-gp3/ubuntu-{codename}-{release}-amd64-server",
        f"ubuntu:{release}",
        _CANONICAL,
        f"Canonical, Ubuntu, {release} LTS, amd64 {codename} image",
        f"/aws/service/canonical/ubuntu/server/{release}/stable/current/amd64/hvm/ebs-gp3/ami-id",
    )


def _debian(release: str, codename: str) -> CatalogAmi:
    return CatalogAmi(
        image_ami_id(f"catalog debian {release}"),
        f"debian-{release}-amd64",
        f"debian:{release}",
        _DEBIAN,
        f"Debian {release} ({codename})",
        f"/aws/service/debian/release/{release}/latest/amd64",
    )


AMIS: tuple[CatalogAmi, ...] = (
    _ubuntu("24.04", "noble"),
    _ubuntu("22.04", "jammy"),
    _debian("13", "trixie"),
    _debian("12", "bookworm"),
)
"""Amazon Linux's own are among moto's."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^al2023-ami"), "amazonlinux:2023"),
    (re.compile(r"^amzn2-ami"), "amazonlinux:2"),
    (re.compile(r"^amzn-ami"), "amazonlinux:1"),
    (re.compile(r"ubuntu-[a-z]+-(\d\d\.\d\d)"), r"ubuntu:\1"),
    (re.compile(r"^debian-(\d+)"), r"debian:\1"),
)


def image_for_ami_name(name: str | None) -> str | None:
    """The container image that stands for an AMI of this name; None where none is known."""
    for pattern, image in _PATTERNS:
        match = pattern.search(name or "")
        if match:
            return match.expand(image)
    return None


def is_ami_id(text: str) -> bool:
    """Whether the text has the form of an AMI id: anything else names a container image."""
    return re.fullmatch(r"ami-[0-9A-Za-z-]+", text) is not None


def is_exact_ami_id(text: str) -> bool:
    """Whether AWS could have given such an id: any other is malformed, not unknown."""
    return re.fullmatch(r"ami-([0-9a-f]{8}|[0-9a-f]{17})", text) is not None
