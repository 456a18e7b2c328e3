"""Which container image an instance gets, and how an AMI, a parameter or a name leads to it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import docker.errors
import pytest
from botocore.exceptions import ClientError

from oblako_magic import Ec2, catalog, names
from oblako_magic.engine import Engine, build
from oblako_magic.settings import Settings
from tests.support.plane import ControlPlane, eventually
from tests.support.world import describe, gone, launch, running

OTHER = f"oblako-test/other-{uuid.uuid4().hex[:8]}:1"
"""Another image than the one that OBLAKO_EC2_IMAGE names."""
MAPPED = "debian:999999"
"""A release that will not be: no pull finds it, no user has it."""
NOWHERE = "debian:999998"


@pytest.fixture(scope="module")
def images(engine_backend: Engine) -> Iterator[None]:
    """Further names of the tiny image, for as long as these tests run."""
    api = engine_backend.api
    for name in (OTHER, MAPPED):
        repository, _, tag = name.rpartition(":")
        api.tag(build.TINY_IMAGE, repository, tag)
    yield
    for name in (OTHER, MAPPED):
        with contextlib.suppress(docker.errors.APIError):
            api.remove_image(name)


def image_of(plane: ControlPlane, *instance_ids: str) -> str:
    """The image that the engine has made the instances' containers of, and their end."""
    found = {container["Config"]["Image"] for container in running(plane, *instance_ids)}
    plane.client().terminate_instances(InstanceIds=list(instance_ids))
    gone(plane, *instance_ids)
    (image,) = found
    return str(image)


@pytest.mark.usefixtures("images")
class TestWithDefaultSet:
    """OBLAKO_EC2_IMAGE names the tiny image."""

    def test_the_setting_comes_before_what_the_ami_maps_to(
        self, shared_control_plane: ControlPlane, shared_ec2: Any
    ) -> None:
        ami = shared_ec2.register_image(Name=f"debian-999999-{uuid.uuid4().hex}", RootDeviceName="/dev/xvda")["ImageId"]
        assert image_of(shared_control_plane, *launch(shared_ec2, ImageId=ami)) == build.TINY_IMAGE

    def test_an_image_name_as_image_id(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        (instance_id,) = launch(shared_ec2, ImageId=OTHER)
        # What describes it shows a proper AMI that can be described and launched in turn.
        ami = describe(shared_ec2, instance_id)["ImageId"]
        assert catalog.is_ami_id(ami)
        (shown,) = shared_ec2.describe_images(ImageIds=[ami])["Images"]
        assert shown["Name"] == OTHER
        (again,) = launch(shared_ec2, ImageId=ami)
        assert image_of(shared_control_plane, instance_id, again) == OTHER

    def test_a_registered_image_location(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        ami = shared_ec2.register_image(Name=f"mine-{uuid.uuid4().hex}", ImageLocation=OTHER)["ImageId"]
        (shown,) = shared_ec2.describe_images(ImageIds=[ami])["Images"]
        assert shown["ImageLocation"] == OTHER
        assert image_of(shared_control_plane, *launch(shared_ec2, ImageId=ami)) == OTHER

    def test_a_tag_of_the_launch(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        tagged = [{"ResourceType": "instance", "Tags": [{"Key": names.TAG_IMAGE, "Value": OTHER}]}]
        assert image_of(shared_control_plane, *launch(shared_ec2, TagSpecifications=tagged)) == OTHER

    def test_an_own_parameter(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        ami = shared_ec2.register_image(Name=f"golden-{uuid.uuid4().hex}", ImageLocation=OTHER)["ImageId"]
        ssm = shared_control_plane.client("ssm")
        ssm.put_parameter(Name="/golden/ami", Value=ami, Type="String", DataType="aws:ec2:image")
        (instance_id,) = launch(shared_ec2, ImageId="resolve:ssm:/golden/ami")
        assert describe(shared_ec2, instance_id)["ImageId"] == ami
        assert image_of(shared_control_plane, instance_id) == OTHER

    def test_a_parameter_in_a_launch_template(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        ami = shared_ec2.register_image(Name=f"golden-{uuid.uuid4().hex}", ImageLocation=OTHER)["ImageId"]
        shared_control_plane.client("ssm").put_parameter(Name="/templated", Value=ami, Type="String")
        data = {"ImageId": "resolve:ssm:/templated", "InstanceType": "t3.nano"}
        shared_ec2.create_launch_template(LaunchTemplateName="by-parameter", LaunchTemplateData=data)
        launched = shared_ec2.run_instances(
            MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "by-parameter"}
        )["Instances"][0]
        assert launched["ImageId"] == ami
        assert image_of(shared_control_plane, launched["InstanceId"]) == OTHER

    def test_a_parameter_that_is_not_there(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        before = {container["Id"] for container in shared_control_plane.containers()}
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            launch(shared_ec2, ImageId="resolve:ssm:/no/such/parameter")
        assert {container["Id"] for container in shared_control_plane.containers()} == before

    @pytest.mark.parametrize(
        ("parameter", "owner"),
        [
            ("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64", "amazon"),
            ("/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id", "099720109477"),
            ("/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp3/ami-id", "099720109477"),
            ("/aws/service/debian/release/13/latest/amd64", "136693071363"),
            ("/aws/service/debian/release/12/latest/amd64", "136693071363"),
        ],
    )
    def test_public_parameters_name_amis_that_are_there(
        self, shared_control_plane: ControlPlane, shared_ec2: Any, parameter: str, owner: str
    ) -> None:
        ssm = shared_control_plane.client("ssm")
        ami = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        (shown,) = shared_ec2.describe_images(ImageIds=[ami])["Images"]
        assert catalog.image_for_ami_name(shown["Name"]) is not None
        assert owner in (shown["OwnerId"], shown.get("ImageOwnerAlias"))
        (instance_id,) = launch(shared_ec2, ImageId=f"resolve:ssm:{parameter}")
        assert describe(shared_ec2, instance_id)["ImageId"] == ami
        assert image_of(shared_control_plane, instance_id) == build.TINY_IMAGE

    def test_an_image_of_an_instance(self, shared_control_plane: ControlPlane, shared_ec2: Any) -> None:
        """CreateImage: the AMI leads to what the instance was made of."""
        (instance_id,) = launch(shared_ec2, ImageId=OTHER)
        running(shared_control_plane, instance_id)
        ami = shared_ec2.create_image(InstanceId=instance_id, Name="snapshot")["ImageId"]
        (second,) = launch(shared_ec2, ImageId=ami)
        assert image_of(shared_control_plane, instance_id, second) == OTHER


@pytest.mark.usefixtures("images")
class TestWithoutDefault:
    """OBLAKO_EC2_IMAGE is not set."""

    def test_precedence_and_the_base_image_standing_in(
        self, control_plane: ControlPlane, base_image: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plane = control_plane
        plane.stop()
        monkeypatch.delenv("OBLAKO_EC2_IMAGE")
        plane.settings = Settings.from_env()
        plane.start()
        ec2 = plane.client()
        mapped = ec2.register_image(Name=f"debian-999999-{uuid.uuid4().hex}", RootDeviceName="/dev/xvda")["ImageId"]
        assert image_of(plane, *launch(ec2, ImageId=mapped)) == MAPPED
        named = ec2.register_image(Name=f"debian-999999-{uuid.uuid4().hex}", ImageLocation=OTHER)["ImageId"]
        assert image_of(plane, *launch(ec2, ImageId=named)) == OTHER

        # Nobody named this image: the base image stands in, and a line says so.
        missing = ec2.register_image(Name=f"debian-999998-{uuid.uuid4().hex}", RootDeviceName="/dev/xvda")["ImageId"]
        (instance_id,) = launch(ec2, ImageId=missing)
        (container,) = running(plane, instance_id, timeout=60)
        assert container["Config"]["Image"] == base_image
        note = Ec2(plane.settings).get(instance_id).note
        assert NOWHERE in note
        assert base_image in note
        ec2.terminate_instances(InstanceIds=[instance_id])

        # Somebody named it: none may stand in.
        (refused,) = launch(ec2, ImageId=NOWHERE)
        eventually(lambda: plane.state(refused) == "terminated", timeout=60, what="refused")
        assert NOWHERE in describe(ec2, refused)["StateReason"]["Message"]
        gone(plane, instance_id, refused)
