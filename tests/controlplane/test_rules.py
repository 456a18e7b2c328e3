"""EC2's rules that moto lacks, as boto3 meets them; simulated instances, where the engine has no part in the rule."""

from __future__ import annotations

import urllib.request
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from oblako_magic import names
from tests.controlplane.planes import AMI, Plane
from tests.support.plane import eventually

SIMULATED = [{"ResourceType": "instance", "Tags": [{"Key": names.TAG_BACKED, "Value": "false"}]}]


def simulated(plane: Plane, count: int = 1, **kwargs: Any) -> dict[str, Any]:
    """RunInstances without containers; the reservation."""
    arguments = {"ImageId": AMI, "MinCount": count, "MaxCount": count, "TagSpecifications": SIMULATED, **kwargs}
    return dict(plane.client().run_instances(**arguments))


def running(plane: Plane, **kwargs: Any) -> str:
    instance_id = str(simulated(plane, **kwargs)["Instances"][0]["InstanceId"])
    plane.until(instance_id, "running")
    return instance_id


def refused(code: str, call: Any, *args: Any, **kwargs: Any) -> str:
    """The call fails with this code; its message."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return str(caught.value.response["Error"]["Message"])


def ids(plane: Plane) -> set[str]:
    pages = plane.client().get_paginator("describe_instances").paginate()
    return {i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]}


class TestReserved:
    def test_tags_of_awss_own_are_refused(self, plane: Plane) -> None:
        before = ids(plane)
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "aws:mine", "Value": "x"}]}]
        refused("InvalidParameterValue", simulated, plane, TagSpecifications=tags)
        assert ids(plane) == before

    def test_a_filter_that_is_not_there(self, plane: Plane) -> None:
        running(plane)  # moto looks at filters where there is something to filter
        client, by = plane.client(), [{"Name": "no-such-filter", "Values": ["x"]}]
        for call in (client.describe_instances, client.describe_vpcs):
            said = refused("InvalidParameterValue", call, Filters=by)
            assert said.startswith("The filter 'no-such-filter' is invalid"), said


class TestClientToken:
    def test_the_same_request_gets_the_same_reservation(self, plane: Plane) -> None:
        token = uuid.uuid4().hex
        first, second = simulated(plane, 2, ClientToken=token), simulated(plane, 2, ClientToken=token)
        assert second["ReservationId"] == first["ReservationId"]
        chosen = [i["InstanceId"] for i in first["Instances"]]
        assert [i["InstanceId"] for i in second["Instances"]] == chosen
        assert [i["ClientToken"] for i in second["Instances"]] == [token, token]

    def test_another_request_with_it_is_refused(self, plane: Plane) -> None:
        token = uuid.uuid4().hex
        simulated(plane, ClientToken=token)
        before = ids(plane)
        refused("IdempotentParameterMismatch", simulated, plane, ClientToken=token, InstanceType="t3.nano")
        refused("IdempotentParameterMismatch", simulated, plane, 2, ClientToken=token)
        assert ids(plane) == before

    def test_a_failed_launch_leaves_it_free(self, plane: Plane) -> None:
        token = uuid.uuid4().hex
        refused("InvalidKeyPair.NotFound", simulated, plane, ClientToken=token, KeyName="none")
        assert simulated(plane, ClientToken=token)["Instances"]

    def test_what_can_be_no_token(self, plane: Plane) -> None:
        refused("InvalidClientToken", simulated, plane, ClientToken="a" * 65)


class TestNames:
    @pytest.mark.parametrize(
        ("code", "arguments"),
        [
            ("InvalidParameterValue", {"InstanceType": "t9.enormous"}),
            ("InvalidAMIID.NotFound", {"ImageId": "ami-0123456789abcdef0"}),
            ("InvalidAMIID.Malformed", {"ImageId": "ami-nonsense"}),
            (
                "InvalidLaunchTemplateId.NotFound",
                {"LaunchTemplate": {"LaunchTemplateId": "lt-0123456789abcdef0"}},
            ),
            ("InvalidKeyPair.NotFound", {"KeyName": "nobody-made-it"}),
            ("InvalidGroup.NotFound", {"SecurityGroupIds": ["sg-0123456789abcdef0"]}),
            ("InvalidGroup.NotFound", {"SecurityGroups": ["nobody-made-it"]}),
            ("InvalidParameterValue", {"InstanceInitiatedShutdownBehavior": "hibernate"}),
            ("InvalidParameterValue", {"PrivateIpAddress": "10.99.0.1"}),
            ("InvalidParameterValue", {"PrivateIpAddress": "172.31.0.1"}),
            ("InvalidParameterValue", {"PrivateIpAddress": "localhost"}),
        ],
    )
    def test_a_launch_that_names_what_is_not_there_makes_nothing(
        self, plane: Plane, code: str, arguments: dict[str, Any]
    ) -> None:
        before = ids(plane)
        refused(code, simulated, plane, **arguments)
        refused(code, simulated, plane, 2, **arguments)
        assert ids(plane) == before
        assert all(r["Instances"] for r in plane.client().describe_instances()["Reservations"])

    def test_without_an_image(self, plane: Plane) -> None:
        refused("MissingParameter", plane.client().run_instances, MinCount=1, MaxCount=1)

    def test_a_deregistered_image(self, plane: Plane) -> None:
        client = plane.client()
        image_id = client.register_image(Name=uuid.uuid4().hex, RootDeviceName="/dev/sda1")["ImageId"]
        client.deregister_image(ImageId=image_id)
        refused("InvalidAMIID.Unavailable", simulated, plane, ImageId=image_id)

    def test_what_is_there_is_taken(self, plane: Plane) -> None:
        client, name = plane.client(), uuid.uuid4().hex
        client.create_key_pair(KeyName=name)
        group = client.create_security_group(GroupName=name, Description=name)["GroupId"]
        instance_id = running(plane, KeyName=name, SecurityGroupIds=[group], InstanceType="t3.nano")
        found = plane.describe(instance_id)
        assert found["KeyName"] == name
        assert [one["GroupId"] for one in found["SecurityGroups"]] == [group]

    def test_without_a_group_it_is_in_the_default_one_of_its_vpc(self, plane: Plane) -> None:
        client = plane.client()
        vpc = client.create_vpc(CidrBlock="10.31.0.0/16")["Vpc"]["VpcId"]
        other = client.create_subnet(VpcId=vpc, CidrBlock="10.31.1.0/24")["Subnet"]["SubnetId"]
        group = client.create_security_group(GroupName=uuid.uuid4().hex, Description="another")["GroupId"]
        for where in ({}, {"SubnetId": other}):
            [launched] = simulated(plane, **where)["Instances"]
            found = plane.describe(launched["InstanceId"])
            assert launched["SecurityGroups"] == found["SecurityGroups"] == found["NetworkInterfaces"][0]["Groups"]
            [default] = found["SecurityGroups"]
            of_vpc = client.describe_security_groups(GroupIds=[default["GroupId"]])["SecurityGroups"][0]["VpcId"]
            assert (default["GroupName"], of_vpc) == ("default", found["VpcId"])
        # The groups of an instance and of its primary interface are the same ones, whichever is changed.
        interface = found["NetworkInterfaces"][0]["NetworkInterfaceId"]
        client.modify_instance_attribute(InstanceId=launched["InstanceId"], Groups=[group])
        found = plane.describe(launched["InstanceId"])
        assert [one["GroupId"] for one in found["SecurityGroups"]] == [group]
        assert found["NetworkInterfaces"][0]["Groups"] == found["SecurityGroups"]
        client.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[default["GroupId"]])
        found = plane.describe(launched["InstanceId"])
        assert found["NetworkInterfaces"][0]["Groups"] == found["SecurityGroups"] == [default]

    def test_a_container_image_is_no_ami_and_allowed(self, plane: Plane) -> None:
        assert plane.describe(running(plane, ImageId="example/any:thing"))["ImageId"].startswith("ami-")

    def test_the_same_address_twice(self, plane: Plane) -> None:
        running(plane, PrivateIpAddress="172.31.7.7", SubnetId=subnet(plane, "172.31.0.0/20"))
        refused(
            "InvalidIPAddress.InUse",
            simulated,
            plane,
            PrivateIpAddress="172.31.7.7",
            SubnetId=subnet(plane, "172.31.0.0/20"),
        )

    def test_of_a_launch_template(self, plane: Plane) -> None:
        client, name = plane.client(), uuid.uuid4().hex
        data = {"ImageId": AMI, "InstanceType": "t3.nano", "KeyName": "nobody-made-it"}
        client.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        template = {"LaunchTemplateName": name}
        refused("InvalidKeyPair.NotFound", client.run_instances, MinCount=1, MaxCount=1, LaunchTemplate=template)


def subnet(plane: Plane, block: str) -> str:
    found = plane.client().describe_subnets(Filters=[{"Name": "cidr-block", "Values": [block]}])
    return str(found["Subnets"][0]["SubnetId"])


class TestProtection:
    def test_termination_and_stop_protection_at_launch(self, plane: Plane) -> None:
        client = plane.client()
        instance_id = running(plane, DisableApiTermination=True, DisableApiStop=True)
        refused("OperationNotPermitted", client.terminate_instances, InstanceIds=[instance_id])
        refused("OperationNotPermitted", client.stop_instances, InstanceIds=[instance_id])
        # The older form writes its boolean as text.
        client.modify_instance_attribute(InstanceId=instance_id, Attribute="disableApiTermination", Value="false")
        client.modify_instance_attribute(InstanceId=instance_id, DisableApiStop={"Value": False})
        client.stop_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "stopped")
        client.terminate_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "terminated")

    def test_by_a_launch_template(self, plane: Plane) -> None:
        client, name = plane.client(), uuid.uuid4().hex
        data = {"DisableApiTermination": True, "InstanceInitiatedShutdownBehavior": "terminate"}
        client.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        instance_id = running(plane, LaunchTemplate={"LaunchTemplateName": name})
        refused("OperationNotPermitted", client.terminate_instances, InstanceIds=[instance_id])
        assert attribute(plane, instance_id, "instanceInitiatedShutdownBehavior") == "terminate"
        client.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})


def attribute(plane: Plane, instance_id: str, name: str) -> Any:
    found = plane.client().describe_instance_attribute(InstanceId=instance_id, Attribute=name)
    return found[name[0].upper() + name[1:]]["Value"]


class TestAttributes:
    def test_type_and_user_data_change_while_it_is_stopped(self, plane: Plane) -> None:
        client, instance_id = plane.client(), running(plane, InstanceType="t3.nano")
        message = refused(
            "IncorrectInstanceState",
            client.modify_instance_attribute,
            InstanceId=instance_id,
            InstanceType={"Value": "t3.micro"},
        )
        assert message == f"The instance '{instance_id}' is not in the 'stopped' state."
        data = {"Value": b"#!/bin/sh\n"}
        refused("IncorrectInstanceState", client.modify_instance_attribute, InstanceId=instance_id, UserData=data)
        client.stop_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "stopped")
        client.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.micro"})
        client.modify_instance_attribute(InstanceId=instance_id, UserData=data)
        assert attribute(plane, instance_id, "instanceType") == "t3.micro"
        assert attribute(plane, instance_id, "userData") == "IyEvYmluL3NoCg=="
        refused(
            "InvalidInstanceAttributeValue",
            client.modify_instance_attribute,
            InstanceId=instance_id,
            InstanceType={"Value": "t9.enormous"},
        )

    def test_the_shutdown_behavior_changes_and_the_groups_stay(self, plane: Plane) -> None:
        client, name = plane.client(), uuid.uuid4().hex
        group = client.create_security_group(GroupName=name, Description=name)["GroupId"]
        instance_id = running(plane, SecurityGroupIds=[group])
        client.modify_instance_attribute(
            InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
        )
        assert attribute(plane, instance_id, "instanceInitiatedShutdownBehavior") == "terminate"
        assert [one["GroupId"] for one in plane.describe(instance_id)["SecurityGroups"]] == [group]

    def test_what_changes_nothing_is_refused(self, plane: Plane) -> None:
        client, instance_id = plane.client(), running(plane)
        change = client.modify_instance_attribute
        refused("InvalidParameterCombination", change, InstanceId=instance_id)
        refused("InvalidParameterValue", change, InstanceId=instance_id, Attribute="rootDeviceName", Value="/dev/sdx")
        refused("InvalidGroup.NotFound", change, InstanceId=instance_id, Groups=["sg-0123456789abcdef0"])
        nothing = [{"DeviceName": "/dev/sdz", "Ebs": {"DeleteOnTermination": True}}]
        refused("InvalidInstanceAttributeValue", change, InstanceId=instance_id, BlockDeviceMappings=nothing)


class TestStopAndStart:
    def test_times_words_and_addresses(self, plane: Plane) -> None:
        client, instance_id = plane.client(), running(plane)
        before = plane.describe(instance_id)
        client.stop_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "stopped")
        stopped = plane.describe(instance_id)
        assert stopped["StateTransitionReason"].startswith("User initiated (")
        assert stopped["StateTransitionReason"].endswith(" GMT)")
        assert stopped["StateReason"] == {
            "Code": "Client.UserInitiatedShutdown",
            "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
        }
        assert not stopped.get("PublicIpAddress")
        eventually(lambda: started(plane, instance_id) > before["LaunchTime"], what="a later LaunchTime")
        after = plane.describe(instance_id)
        assert "StateReason" not in after
        assert "StateReason" not in before
        assert after["PublicIpAddress"] != before["PublicIpAddress"]
        assert after["PrivateIpAddress"] == stopped["PrivateIpAddress"] == before["PrivateIpAddress"]
        assert not after.get("StateTransitionReason")

    def test_an_elastic_ip_stays_and_is_free_after_the_end(self, plane: Plane) -> None:
        client, instance_id = plane.client(), running(plane)
        address = client.allocate_address(Domain="vpc")
        client.associate_address(InstanceId=instance_id, AllocationId=address["AllocationId"])
        client.stop_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "stopped")
        assert plane.describe(instance_id)["PublicIpAddress"] == address["PublicIp"]
        client.start_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "running")
        assert plane.describe(instance_id)["PublicIpAddress"] == address["PublicIp"]
        client.terminate_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "terminated")
        (left,) = client.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"]
        assert not left.get("InstanceId")
        assert not left.get("AssociationId")


class TestTheEnd:
    """What goes with an instance and what stays (EC2 user guide, "Preserve data when an instance is terminated")."""

    def test_its_address_is_free_while_its_record_is_shown(self, plane: Plane) -> None:
        client, place = plane.client(), subnet(plane, "172.31.0.0/20")
        address = {"PrivateIpAddress": "172.31.9.9", "SubnetId": place}
        instance_id = running(plane, **address)
        (interface,) = plane.describe(instance_id)["NetworkInterfaces"]
        assert interface["Attachment"]["DeleteOnTermination"] is True
        client.terminate_instances(InstanceIds=[instance_id])
        second = running(plane, **address)
        plane.until(instance_id, "terminated")
        shown = plane.describe(instance_id)
        assert not {"PrivateIpAddress", "PublicIpAddress", "SubnetId", "VpcId"} & set(shown)
        assert (shown["PrivateDnsName"], shown["NetworkInterfaces"]) == ("", [])
        refused(
            "InvalidNetworkInterfaceID.NotFound",
            client.describe_network_interfaces,
            NetworkInterfaceIds=[interface["NetworkInterfaceId"]],
        )
        # Whoever has the address now keeps it, also when the first one is terminated once more.
        client.terminate_instances(InstanceIds=[instance_id])
        refused("InvalidIPAddress.InUse", simulated, plane, **address)
        by = [{"Name": "private-ip-address", "Values": ["172.31.9.9"]}]
        (found,) = client.describe_instances(Filters=by)["Reservations"]
        assert found["Instances"][0]["InstanceId"] == second

    def test_an_interface_of_one_s_own_is_free_again(self, plane: Plane) -> None:
        client, place = plane.client(), subnet(plane, "172.31.0.0/20")
        made = client.create_network_interface(SubnetId=place, PrivateIpAddress="172.31.9.10")["NetworkInterface"]
        given = [{"DeviceIndex": 0, "NetworkInterfaceId": made["NetworkInterfaceId"]}]
        instance_id = running(plane, NetworkInterfaces=given)
        assert plane.describe(instance_id)["PrivateIpAddress"] == "172.31.9.10"
        client.terminate_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "terminated")
        (left,) = client.describe_network_interfaces(NetworkInterfaceIds=[made["NetworkInterfaceId"]])[
            "NetworkInterfaces"
        ]
        assert (left["Status"], left["PrivateIpAddress"]) == ("available", "172.31.9.10")
        assert plane.describe(running(plane, NetworkInterfaces=given))["PrivateIpAddress"] == "172.31.9.10"

    def test_a_device_has_one_volume_and_a_volume_one_instance(self, plane: Plane) -> None:
        client, one = plane.client(), plane.describe(running(plane))
        zone = one["Placement"]["AvailabilityZone"]
        volume = client.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
        where = {"VolumeId": volume, "InstanceId": one["InstanceId"]}
        assert "already in use" in refused("InvalidParameterValue", client.attach_volume, Device="/dev/sda1", **where)
        client.attach_volume(Device="/dev/sdf", **where)
        refused("VolumeInUse", client.attach_volume, Device="/dev/sdg", **where)
        devices = plane.describe(one["InstanceId"])["BlockDeviceMappings"]
        assert {device["DeviceName"] for device in devices} == {"/dev/sda1", "/dev/sdf"}

    def test_a_volume_is_detached_from_whichever_instance_has_it(self, plane: Plane) -> None:
        client, one = plane.client(), plane.describe(running(plane))
        volume = client.create_volume(AvailabilityZone=one["Placement"]["AvailabilityZone"], Size=1)["VolumeId"]
        client.attach_volume(VolumeId=volume, InstanceId=one["InstanceId"], Device="/dev/sdf")
        assert client.detach_volume(VolumeId=volume)["InstanceId"] == one["InstanceId"]
        devices = plane.describe(one["InstanceId"])["BlockDeviceMappings"]
        assert [device["DeviceName"] for device in devices] == ["/dev/sda1"]
        assert "'available' state" in refused("IncorrectState", client.detach_volume, VolumeId=volume)

    @pytest.mark.parametrize("template", [False, True])
    def test_volumes_of_the_launch_go_unless_they_are_kept(self, plane: Plane, template: bool) -> None:
        client, name = plane.client(), uuid.uuid4().hex
        devices = [
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}},
            {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}},
        ]
        arguments: dict[str, Any] = {"BlockDeviceMappings": devices}
        if template:
            client.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=arguments)
            arguments = {"LaunchTemplate": {"LaunchTemplateName": name}}
        instance_id = running(plane, **arguments)
        mapped = {one["DeviceName"]: one["Ebs"] for one in plane.describe(instance_id)["BlockDeviceMappings"]}
        goes = {device: ebs["DeleteOnTermination"] for device, ebs in mapped.items()}
        assert goes == {"/dev/sda1": True, "/dev/sdf": True, "/dev/sdg": False}
        client.terminate_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "terminated")
        volumes = [ebs["VolumeId"] for ebs in mapped.values()]
        left = client.describe_volumes(Filters=[{"Name": "volume-id", "Values": volumes}])["Volumes"]
        assert [(one["VolumeId"], one["State"]) for one in left] == [(mapped["/dev/sdg"]["VolumeId"], "available")]


class TestHalfOfALaunch:
    """An action that launches and fails in the middle has launched nothing."""

    def left(self, plane: Plane) -> dict[str, Any]:
        """All that such an action may leave behind."""
        client, scaling = plane.client(), plane.client("autoscaling")
        return {
            "instances": ids(plane),
            "volumes": {one["VolumeId"] for one in client.describe_volumes()["Volumes"]},
            "interfaces": {
                one["NetworkInterfaceId"] for one in client.describe_network_interfaces()["NetworkInterfaces"]
            },
            "requests": client.describe_spot_instance_requests()["SpotInstanceRequests"],
            "fleets": client.describe_fleets()["Fleets"],
            "groups": scaling.describe_auto_scaling_groups()["AutoScalingGroups"],
            "tags": len(client.describe_tags()["Tags"]),
        }

    def narrow(self, plane: Plane) -> str:
        """A subnet with room for eleven."""
        vpc = plane.client().create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
        made = plane.client().create_subnet(VpcId=vpc, CidrBlock="10.77.0.0/28", AvailabilityZone="us-east-1a")
        return str(made["Subnet"]["SubnetId"])

    def template(self, plane: Plane, **data: Any) -> str:
        name = uuid.uuid4().hex
        data = {"ImageId": AMI, "InstanceType": "t3.nano", "TagSpecifications": SIMULATED, **data}
        plane.client().create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        return name

    def test_of_a_fleet(self, plane: Plane) -> None:
        names_ = self.template(plane), self.template(plane, KeyName="nobody-made-it")
        specs = [{"LaunchTemplateName": name, "Version": "$Latest"} for name in names_]
        before = self.left(plane)
        refused(
            "InvalidKeyPair.NotFound",
            plane.client().create_fleet,
            Type="instant",
            SpotOptions={"AllocationStrategy": "diversified"},
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": spec} for spec in specs],
            TargetCapacitySpecification={
                "TotalTargetCapacity": 4,
                "OnDemandTargetCapacity": 2,
                "SpotTargetCapacity": 2,
                "DefaultTargetCapacityType": "spot",
            },
        )
        assert self.left(plane) == before

    def test_of_spot_requests(self, plane: Plane) -> None:
        place = self.narrow(plane)
        before = self.left(plane)
        asked = {"ImageId": AMI, "InstanceType": "t3.nano", "SubnetId": place}
        code, call = "InsufficientFreeAddressesInSubnet", plane.client().request_spot_instances
        refused(code, call, InstanceCount=12, LaunchSpecification=asked, TagSpecifications=SIMULATED)
        assert self.left(plane) == before
        assert len(simulated(plane, 11, SubnetId=place)["Instances"]) == 11

    def test_of_a_group(self, plane: Plane) -> None:
        client, name, place = plane.client("autoscaling"), self.template(plane), self.narrow(plane)
        before = self.left(plane)
        group = {
            "AutoScalingGroupName": name,
            "LaunchTemplate": {"LaunchTemplateName": name},
            "MinSize": 2,
            "MaxSize": 20,
            "VPCZoneIdentifier": place,
        }
        arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/none/0123456789abcdef"
        refused("TargetGroupNotFound", client.create_auto_scaling_group, TargetGroupARNs=[arn], **group)
        assert self.left(plane) == before
        client.create_auto_scaling_group(**group)
        before = self.left(plane)
        code, call = "InsufficientFreeAddressesInSubnet", client.set_desired_capacity
        refused(code, call, AutoScalingGroupName=name, DesiredCapacity=12)
        assert self.left(plane) == before
        client.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


class TestLaunchTemplates:
    """What a template holds, a launch has, unless it says otherwise."""

    def template(self, plane: Plane, **data: Any) -> dict[str, str]:
        name = uuid.uuid4().hex
        plane.client().create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": AMI, **data})
        return {"LaunchTemplateName": name}

    def test_all_that_a_request_could_say(self, plane: Plane) -> None:
        client, name = plane.client(), uuid.uuid4().hex
        plane.client("iam").create_instance_profile(InstanceProfileName=name)
        group = client.create_security_group(GroupName=name, Description=name)["GroupId"]
        place = subnet(plane, "172.31.16.0/20")
        interface = {"DeviceIndex": 0, "SubnetId": place, "Groups": [group], "AssociatePublicIpAddress": False}
        template = self.template(
            plane,
            NetworkInterfaces=[{**interface, "DeleteOnTermination": False}],
            IamInstanceProfile={"Name": name},
            InstanceMarketOptions={"MarketType": "spot"},
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 3},
            Monitoring={"Enabled": True},
            EbsOptimized=True,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "of", "Value": "template"}]}],
        )
        made = simulated(plane, 2, LaunchTemplate=template)["Instances"]
        for one in made:
            plane.until(one["InstanceId"], "running")
            found = plane.describe(one["InstanceId"])
            assert found["SubnetId"] == place
            assert "PublicIpAddress" not in found
            (nic,) = found["NetworkInterfaces"]
            assert [given["GroupId"] for given in nic["Groups"]] == [group]
            assert nic["Attachment"]["DeleteOnTermination"] is False
            assert found["IamInstanceProfile"]["Arn"].endswith(f"/{name}")
            assert found["InstanceLifecycle"] == "spot"
            assert found["MetadataOptions"]["HttpTokens"] == "required"
            assert found["MetadataOptions"]["HttpPutResponseHopLimit"] == 3
            assert found["Monitoring"]["State"] == "enabled"
            assert found["EbsOptimized"] is True
            volume = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
            assert client.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Tags"] == [
                {"Key": "of", "Value": "template"}
            ]
        refused("InvalidParameterCombination", simulated, plane, LaunchTemplate=template, SubnetId=place)
        other = running(plane, LaunchTemplate=template, MetadataOptions={"HttpTokens": "optional"})
        assert plane.describe(other)["MetadataOptions"]["HttpTokens"] == "optional"

    def test_the_zone(self, plane: Plane) -> None:
        template = self.template(plane, Placement={"AvailabilityZone": "us-east-1c"})
        instance_id = running(plane, LaunchTemplate=template)
        assert plane.describe(instance_id)["Placement"]["AvailabilityZone"] == "us-east-1c"
        asked = {"AvailabilityZone": "us-east-1d"}
        instance_id = running(plane, LaunchTemplate=template, Placement=asked)
        assert plane.describe(instance_id)["Placement"]["AvailabilityZone"] == "us-east-1d"

    def test_a_profile_that_is_not_there(self, plane: Plane) -> None:
        before = ids(plane)
        template = self.template(plane, IamInstanceProfile={"Name": "nobody-made-it"})
        refused("InvalidParameterValue", simulated, plane, LaunchTemplate=template)
        assert ids(plane) == before

    def test_a_profile_that_is_not_there_in_the_request(self, plane: Plane) -> None:
        before = ids(plane)
        said = refused("InvalidParameterValue", simulated, plane, IamInstanceProfile={"Name": "nobody-made-it"})
        assert "nobody-made-it" in said
        assert ids(plane) == before

    def test_a_group_uses_the_version_that_it_names(self, plane: Plane) -> None:
        client, scaling = plane.client(), plane.client("autoscaling")
        template = self.template(plane, InstanceType="t3.nano", TagSpecifications=SIMULATED)
        name = template["LaunchTemplateName"]
        plane.client("iam").create_instance_profile(InstanceProfileName=name)
        data = {
            "ImageId": AMI,
            "InstanceType": "t3.nano",
            "TagSpecifications": SIMULATED,
            "MetadataOptions": {"HttpTokens": "required"},
            "IamInstanceProfile": {"Name": name},
            "NetworkInterfaces": [{"DeviceIndex": 0, "AssociatePublicIpAddress": False}],
            "BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 3}}],
        }
        client.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data)
        place = subnet(plane, "172.31.32.0/20")
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={**template, "Version": "$Latest"},
            MinSize=1,
            MaxSize=1,
            VPCZoneIdentifier=place,
        )
        (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        found = plane.describe(group["Instances"][0]["InstanceId"])
        assert found["SubnetId"] == place
        assert "PublicIpAddress" not in found
        assert found["MetadataOptions"]["HttpTokens"] == "required"
        assert found["IamInstanceProfile"]["Arn"].endswith(f"/{name}")
        assert {one["DeviceName"] for one in found["BlockDeviceMappings"]} == {"/dev/sda1", "/dev/sdf"}
        scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)


class TestInstanceProfiles:
    def profile(self, plane: Plane) -> str:
        name = f"profile-{uuid.uuid4().hex}"
        plane.client("iam").create_instance_profile(InstanceProfileName=name)
        return name

    def test_at_launch_and_changed(self, plane: Plane) -> None:
        client, first, second = plane.client(), self.profile(plane), self.profile(plane)
        instance_id = running(plane, IamInstanceProfile={"Name": first})
        assert plane.describe(instance_id)["IamInstanceProfile"]["Arn"].endswith(f"/{first}")
        by = [{"Name": "instance-id", "Values": [instance_id]}]
        (found,) = client.describe_iam_instance_profile_associations(Filters=by)["IamInstanceProfileAssociations"]
        client.disassociate_iam_instance_profile(AssociationId=found["AssociationId"])
        assert "IamInstanceProfile" not in plane.describe(instance_id)
        client.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": second})
        assert plane.describe(instance_id)["IamInstanceProfile"]["Arn"].endswith(f"/{second}")
        client.terminate_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "terminated")
        assert client.describe_iam_instance_profile_associations(Filters=by)["IamInstanceProfileAssociations"] == []

    def test_it_is_no_attribute_of_clients(self, plane: Plane) -> None:
        change, instance_id = plane.client().modify_instance_attribute, running(plane)
        refused("InvalidParameterValue", change, InstanceId=instance_id, Attribute="iamInstanceProfile", Value="x")


def started(plane: Plane, instance_id: str) -> Any:
    """Stop it where it runs, start it; its LaunchTime, in whole seconds."""
    client = plane.client()
    if plane.state(instance_id) != "stopped":
        client.stop_instances(InstanceIds=[instance_id])
        plane.until(instance_id, "stopped")
    client.start_instances(InstanceIds=[instance_id])
    plane.until(instance_id, "running")
    return plane.describe(instance_id)["LaunchTime"]


class TestRequests:
    def test_a_dry_run_does_nothing(self, plane: Plane) -> None:
        client, instance_id = plane.client(), running(plane)
        before, vpcs = ids(plane), client.describe_vpcs()["Vpcs"]
        refused("DryRunOperation", simulated, plane, DryRun=True)
        refused("InvalidKeyPair.NotFound", simulated, plane, DryRun=True, KeyName="nobody-made-it")
        for call in (
            *(client.start_instances, client.stop_instances, client.reboot_instances, client.terminate_instances),
            client.describe_instances,
            client.describe_instance_status,
        ):
            refused("DryRunOperation", call, InstanceIds=[instance_id], DryRun=True)
        refused("InvalidInstanceID.NotFound", client.stop_instances, InstanceIds=["i-0123456789abcdef0"], DryRun=True)
        refused("DryRunOperation", client.create_vpc, CidrBlock="10.0.0.0/16", DryRun=True)
        refused("DryRunOperation", client.create_tags, Resources=[instance_id], Tags=[], DryRun=True)
        refused("DryRunOperation", client.delete_key_pair, KeyName="any", DryRun=True)
        assert plane.state(instance_id) == "running"
        assert ids(plane) == before
        assert client.describe_vpcs()["Vpcs"] == vpcs

    def test_pages(self, plane: Plane) -> None:
        client, filters = plane.client(), [{"Name": "tag:page", "Values": ["yes"]}]
        tags = [{**SIMULATED[0], "Tags": [*SIMULATED[0]["Tags"], {"Key": "page", "Value": "yes"}]}]
        made = [simulated(plane, count, TagSpecifications=tags) for count in (1, 1, 3, 2, 7, 1)]
        wanted = [i["InstanceId"] for r in made for i in r["Instances"]]
        pages = list(
            client.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 5})
        )
        found = [[i["InstanceId"] for r in page["Reservations"] for i in r["Instances"]] for page in pages]
        assert [len(page) for page in found] == [5, 2, 7, 1]
        assert [one for page in found for one in page] == wanted
        (whole,) = client.get_paginator("describe_instances").paginate(Filters=filters)
        assert len(whole["Reservations"]) == 6
        refused("InvalidNextToken", client.describe_instances, NextToken="bogus")
        refused("InvalidParameterValue", client.describe_instances, MaxResults=1)
        refused("InvalidParameterCombination", client.describe_instances, MaxResults=5, InstanceIds=wanted[:1])

    @pytest.mark.parametrize("version", ["2016-11-15", "2014-10-01"])
    def test_an_answer_is_in_the_namespace_of_the_version_that_was_asked_for(self, plane: Plane, version: str) -> None:
        scope = "Credential=test/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=x"
        request = urllib.request.Request(
            plane.endpoint,
            data=f"Action=DescribeInstances&Version={version}".encode(),
            headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
        )
        with urllib.request.urlopen(request) as answer:
            text = answer.read().decode()
        assert f'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/{version}/">' in text
        assert text.count("xmlns") == 1
