"""The environment variables that lead AWS clients to the control plane.

Reads the AWS configuration files, and imports nothing to speak of: it is on the way of ``%load_ext``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SERVICES: Mapping[str, str] = {
    "EC2": "AWS_ENDPOINT_URL_EC2",
    "Auto Scaling": "AWS_ENDPOINT_URL_AUTO_SCALING",
    "CloudFormation": "AWS_ENDPOINT_URL_CLOUDFORMATION",
    "ELBv2": "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2",
    "IAM": "AWS_ENDPOINT_URL_IAM",
    "STS": "AWS_ENDPOINT_URL_STS",
    "SSM": "AWS_ENDPOINT_URL_SSM",
    "SageMaker": "AWS_ENDPOINT_URL_SAGEMAKER",
    "EC2 Instance Connect": "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",
}
"""The services that the endpoint answers for; a user's S3 and all else go where they went.

The names are botocore's rule: the service id in capitals, blanks as underscores.
"""

_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
TEST_KEY = "test"
DEFAULT_REGION = "us-east-1"


def _aws_files(environ: Mapping[str, str]) -> tuple[Path, Path]:
    home = Path.home()
    return (
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials").expanduser(),
        Path(environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config").expanduser(),
    )


def _has(path: Path, *words: str) -> bool:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return any(word in text for word in words)


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Whether the user has any AWS credentials configured: then none are set."""
    credentials, config = _aws_files(environ)
    words = ("aws_access_key_id", "credential_process", "sso_", "role_arn")
    return any(environ.get(name) for name in _CREDENTIALS) or _has(credentials, *words) or _has(config, *words)


def has_region(environ: Mapping[str, str]) -> bool:
    """Whether a region is configured."""
    credentials, config = _aws_files(environ)
    named = any(environ.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    return named or _has(config, "region") or _has(credentials, "region")


def region(environ: Mapping[str, str] | None = None) -> str | None:
    """The region that the environment names; None leaves it to the AWS configuration files."""
    env = os.environ if environ is None else environ
    named = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return named or (None if has_region(env) else DEFAULT_REGION)


def variables(endpoint: str, environ: Mapping[str, str] | None = None, key: str = TEST_KEY) -> dict[str, str]:
    """What to set so that AWS clients find the endpoint.

    Parameters
    ----------
    endpoint : str
        The URL of the control plane.
    environ : mapping, optional
        The environment as it is; ``os.environ`` by default. Keys and region of the user's own are not touched.
    key : str
        The access key to use where the user has none.
    """
    env = os.environ if environ is None else environ
    found = dict.fromkeys(SERVICES.values(), endpoint)
    if not has_credentials(env):
        found["AWS_ACCESS_KEY_ID"] = found["AWS_SECRET_ACCESS_KEY"] = key
    if not has_region(env):
        found["AWS_DEFAULT_REGION"] = DEFAULT_REGION
    return found
