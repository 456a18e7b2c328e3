"""The plain ``aws`` command in a terminal where ``eval "$(oblako env)"`` was said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oblako_magic import environment
from tests.conftest import missing
from tests.support.plane import ControlPlane, eventually
from tests.support.world import gone, running, runs, until_user_data


class Aws:
    """The command, in the environment of such a terminal."""

    def __init__(self, endpoint: str) -> None:
        beside = Path(sys.executable).with_name("aws")
        found = str(beside) if beside.exists() else shutil.which("aws")
        if found is None:
            missing("the aws command is not installed (pip install awscli)")
        self.command = found
        self.environ = {**os.environ, **environment.variables(endpoint)}

    def __call__(self, *words: str) -> Any:
        done = subprocess.run(
            [self.command, *words, "--output", "json"], env=self.environ, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refusal(self, *words: str) -> str:
        """What it says of a call that is refused."""
        done = subprocess.run([self.command, *words], env=self.environ, capture_output=True, text=True, timeout=90)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="module")
def aws(shared_control_plane: ControlPlane) -> Aws:
    return Aws(shared_control_plane.endpoint)


def test_a_life_by_the_command(shared_control_plane: ControlPlane, aws: Aws, tmp_path: Path) -> None:
    plane = shared_control_plane
    script = tmp_path / "boot.sh"
    script.write_text("#!/bin/sh\necho by the command > /ran\n")
    tag = "ResourceType=instance,Tags=[{Key=Name,Value=terminal}]"
    arguments = ["--image-id", "oblako/tiny", "--instance-type", "t3.nano", "--user-data", f"file://{script}"]
    made = aws("ec2", "run-instances", *arguments, "--count", "1:2", "--tag-specifications", tag)
    first, second = (instance["InstanceId"] for instance in made["Instances"])
    running(plane, first, second)
    assert until_user_data(plane, first) == "by the command\n"
    aws("ec2", "wait", "instance-running", "--instance-ids", first, second)
    shown = aws(
        "ec2",
        "describe-instances",
        "--filters",
        "Name=tag:Name,Values=terminal",
        "--query",
        "Reservations[].Instances[].State.Name",
    )
    assert shown == ["running", "running"]

    aws("ec2", "stop-instances", "--instance-ids", first)
    eventually(lambda: plane.state(first) == "stopped", what="stopped")
    aws("ec2", "wait", "instance-stopped", "--instance-ids", first)
    assert not runs(plane, first)
    assert runs(plane, second)

    aws("ec2", "start-instances", "--instance-ids", first)
    running(plane, first)
    assert plane.execute(first, "cat", "/ran") == (0, "by the command\n")

    aws("ec2", "terminate-instances", "--instance-ids", first, second)
    gone(plane, first, second)
    aws("ec2", "wait", "instance-terminated", "--instance-ids", first, second)


def test_refusals_read_as_from_aws(aws: Aws) -> None:
    text = aws.refusal("ec2", "terminate-instances", "--instance-ids", "i-0123456789abcdef0")
    assert "InvalidInstanceID.NotFound" in text
    assert "TerminateInstances" in text


def test_credentials_and_region_of_the_environment(aws: Aws) -> None:
    assert aws("sts", "get-caller-identity")["Account"] == "123456789012"
    zones = aws("ec2", "describe-availability-zones", "--query", "AvailabilityZones[].RegionName")
    assert set(zones) == {environment.DEFAULT_REGION}
