"""The names and labels of everything that the package makes in an engine. Pure; no I/O.

This file owns them: no other module spells one out (design, "Names and labels").
"""

from __future__ import annotations

from typing import Final

ROOT_MOUNT: Final = "/ebs"
HOST_ALIAS: Final = "host.docker.internal"
DEFAULT_IMAGE: Final = "amazonlinux:2023"
BASE_IMAGE: Final = "oblako/base:latest"
"""What ``oblako image build`` makes from Debian's packages."""
NOTEBOOK_IMAGE: Final = "oblako/notebook:latest"
"""What ``oblako image build notebook`` makes: JupyterLab with this package, from packages."""

LABEL_IMAGE: Final = "oblako.image"
LABEL_VERSION: Final = "oblako.version"
LABEL_SOURCE: Final = "oblako.source"
LABEL_BUILT: Final = "oblako.built"
"""On images that were built here: which it is; the package's version and digest in it; when, in UTC."""

NOTEBOOK_ACCOUNT: Final = "000000000042"
"""The service account whose EC2 instances are the machines of notebook instances."""

LABEL_SERVICE: Final = "oblako.service"
SERVICE_EC2: Final = "ec2"
LABEL_INSTANCE: Final = "oblako.ec2.instance-id"
LABEL_VOLUME: Final = "oblako.ec2.volume-id"
LABEL_CONTROL_PLANE: Final = "oblako.ec2.control-plane"
"""The id of the state directory whose control plane made the thing: another one's are never touched."""
LABEL_ACCOUNT: Final = "oblako.ec2.account"
LABEL_REGION: Final = "oblako.ec2.region"
LABEL_RELAY: Final = "oblako.ec2.relay"
"""``ADDRESS:PORT`` that a relay carries connections on to; its service is ``SERVICE_RELAY``."""
SERVICE_RELAY: Final = "ec2-relay"
LABEL_RECORD: Final = "oblako.ec2.record"
"""JSON: what is needed to rebuild the instance's record when the state file is lost."""

TAG_PREFIX: Final = "oblako:"
TAG_IMAGE: Final = "oblako:image"
TAG_COMMAND: Final = "oblako:command"
TAG_PUBLISH: Final = "oblako:publish"
TAG_BACKED: Final = "oblako:backed"
"""Instance tags that any AWS client may set at launch: the container image, its command (JSON list),
ports to publish (``8080:80,8888``), and ``false`` for an instance without a container."""
TAG_NOTEBOOK: Final = "oblako:notebook"
"""On the machine of a notebook instance: ``ACCOUNT/REGION/NAME`` of the notebook instance."""
TAG_ENV: Final = "oblako:env"
TAG_LIFETIME: Final = "oblako:lifetime"
TAG_IDLE: Final = "oblako:idle"
"""Further tags of notebook instances: environment (a JSON object), and seconds after which one is stopped: since
its start, and without activity."""


NOTEBOOK_MOUNT: Final = "/home/ec2-user/SageMaker"
"""Where a notebook instance has its volume, beside ``ROOT_MOUNT``."""
NOTEBOOK_PORT: Final = 8888
"""Where the server of a notebook instance listens inside."""
NO_INTERNET_NETWORK: Final = "oblako-no-internet"
"""The engine's network of instances without internet access; one for all control planes of an engine."""


def container_name(instance_id: str) -> str:
    """The container of an instance."""
    return f"oblako-ec2-{instance_id}"


def root_volume_name(instance_id: str) -> str:
    """The named volume that is an instance's EBS root; the container's name, as in the design."""
    return container_name(instance_id)


def relay_name(instance_id: str, port: int) -> str:
    """The container by way of which a port of an instance is dialled where its address can't be (ADR 0007)."""
    return f"oblako-relay-{instance_id}-{port}"


def volume_name(volume_id: str) -> str:
    """The named volume of a further EBS volume."""
    return f"oblako-ebs-{volume_id}"


def instance_id_of(name: str) -> str | None:
    """The instance id in a container's or root volume's name; None where the name is not ours."""
    prefix = container_name("")
    bare = name.lstrip("/")
    return bare[len(prefix) :] if bare.startswith(prefix) and len(bare) > len(prefix) else None


def hostname(private_ip: str) -> str:
    """The host name that EC2 gives an instance with this private address: ``ip-10-0-0-4``."""
    return "ip-" + private_ip.replace(".", "-")
