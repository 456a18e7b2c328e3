"""Variables that lead AWS clients here; what the user has set stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblako_magic import environment

HERE = "http://127.0.0.1:4566"


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment without anything of AWS's; its files would be here."""
    return {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }


def test_a_bare_environment_gets_endpoints_keys_and_region(bare: dict[str, str]) -> None:
    found = environment.variables(HERE, bare)
    assert {found.pop(name) for name in environment.SERVICES.values()} == {HERE}
    assert found == {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.mark.parametrize(
    "own",
    [
        {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"},
        {"AWS_PROFILE": "work"},
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2"},
    ],
)
def test_own_credentials_stay(bare: dict[str, str], own: dict[str, str]) -> None:
    found = environment.variables(HERE, {**bare, **own})
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} & set(found)
    assert found["AWS_DEFAULT_REGION"] == "us-east-1"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AWS_SHARED_CREDENTIALS_FILE", "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n"),
        ("AWS_CONFIG_FILE", "[profile work]\ncredential_process = /bin/secret\n"),
        ("AWS_CONFIG_FILE", "[default]\nsso_session = work\n"),
        ("AWS_CONFIG_FILE", "[default]\nrole_arn = arn:aws:iam::1:role/x\n"),
    ],
)
def test_credentials_of_the_users_files_stay(bare: dict[str, str], name: str, text: str) -> None:
    Path(bare[name]).write_text(text)
    assert "AWS_ACCESS_KEY_ID" not in environment.variables(HERE, bare)


@pytest.mark.parametrize("own", [{"AWS_REGION": "eu-west-1"}, {"AWS_DEFAULT_REGION": "eu-west-1"}])
def test_own_region_stays(bare: dict[str, str], own: dict[str, str]) -> None:
    assert not {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(environment.variables(HERE, {**bare, **own}))
    assert environment.region({**bare, **own}) == "eu-west-1"


def test_region_of_the_users_file_stays(bare: dict[str, str]) -> None:
    Path(bare["AWS_CONFIG_FILE"]).write_text("[default]\nregion = eu-west-1\n")
    assert "AWS_DEFAULT_REGION" not in environment.variables(HERE, bare)
    assert environment.region(bare) is None


def test_other_services_go_where_they_went(bare: dict[str, str]) -> None:
    found = environment.variables(HERE, bare)
    assert "AWS_ENDPOINT_URL" not in found
    assert not any("S3" in name for name in found)


def test_the_names_are_botocores() -> None:
    """Each variable is read by the client of its service, and by no other's."""
    import botocore.session

    session = botocore.session.get_session()
    ids = {
        session.get_service_model(service).service_id.upper().replace(" ", "_")
        for service in ("ec2", "autoscaling", "cloudformation", "elbv2", "iam", "sts", "ssm", "sagemaker")
    }
    ids.add(session.get_service_model("ec2-instance-connect").service_id.upper().replace(" ", "_"))
    assert {name.removeprefix("AWS_ENDPOINT_URL_") for name in environment.SERVICES.values()} == ids
