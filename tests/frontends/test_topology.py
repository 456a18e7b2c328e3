"""The picture of a region: whole, escaped, readable, and a tree where there are no pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from oblako_magic.frontends.gather import rule
from oblako_magic.frontends.topology import WIDTH, Group, Machine, Subnet, Topology, Vpc, draw
from tests.frontends.fake_ec2 import FakeEc2

SVG = "{http://www.w3.org/2000/svg}"


def region(machines: tuple[Machine, ...]) -> Topology:
    return Topology(
        "us-east-1",
        (Vpc("vpc-2", "10.0.0.0/16", "lonely"), Vpc("vpc-1", "172.31.0.0/16", default=True)),
        tuple(Subnet(f"subnet-{n}", "vpc-1", f"172.31.{n * 16}.0/20", f"us-east-1{'abc'[n]}") for n in range(3)),
        machines,
        (Group("sg-1", "vpc-1", "web", ("tcp 80 from 0.0.0.0/0",)), Group("sg-2", "vpc-1", "unused")),
    )


def machine(number: int, **values: Any) -> Machine:
    given = {"subnet": "subnet-0", "vpc": "vpc-1", "groups": ("sg-1",), "address": f"172.31.0.{number}", **values}
    return Machine(f"i-{number:017x}", given.pop("name", f"m{number}"), **given)


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def boxes(root: ElementTree.Element, kind: str) -> list[tuple[float, float, float, float]]:
    found = [rect for rect in root.iter(f"{SVG}rect") if rect.get("class", "").split()[0] == kind]
    return [tuple(float(rect.get(key, 0)) for key in ("x", "y", "width", "height")) for rect in found]  # type: ignore[misc]


def inside(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[0] + inner[2] <= outer[0] + outer[2]
        and inner[1] + inner[3] <= outer[1] + outer[3]
    )


def apart(one: tuple[float, ...], two: tuple[float, ...]) -> bool:
    return (
        one[0] + one[2] <= two[0] or two[0] + two[2] <= one[0] or one[1] + one[3] <= two[1] or two[1] + two[3] <= one[1]
    )


def test_every_thing_is_named_and_a_link_leads_to_its_port() -> None:
    web = machine(1, name="web", ports=((80, "http://127.0.0.1:20001"),))
    picture = draw(region((web, machine(2, state="stopped", subnet="subnet-1"))))
    root = parsed(picture)
    text = " ".join(root.itertext())
    for word in (
        "web",
        "172.31.0.1",
        "running",
        "stopped",
        "us-east-1b",
        "tcp 80 from 0.0.0.0/0",
        "(default)",
        "lonely",
    ):
        assert word in text
    assert "unused" not in text, "groups that nobody has would fill the picture"
    [link] = root.iter(f"{SVG}a")
    assert (link.get("href"), link.get("rel")) == ("http://127.0.0.1:20001", "noopener")
    assert root.get("aria-label") == "2 instances in 2 VPCs, us-east-1"


@pytest.mark.parametrize("count", [0, 1, 5, 16, 50, 200])
def test_nothing_lies_over_anything_however_many_there_are(count: int) -> None:
    root = parsed(draw(region(tuple(machine(n, subnet=f"subnet-{n % 3 if n % 7 else 0}") for n in range(count)))))
    canvas = (0, 0, WIDTH, float(root.get("height", 0)))
    cards, nets, vpcs = boxes(root, "card"), boxes(root, "net"), boxes(root, "vpc")
    assert (len(cards), len(vpcs)) == (count, 2)
    assert all(inside(box, canvas) for box in [*cards, *nets, *vpcs])
    assert all(any(inside(card, net) for net in nets) for card in cards)
    assert all(any(inside(net, vpc) for vpc in vpcs) for net in nets)
    for kind in (cards, nets, vpcs):
        assert all(apart(one, two) for at, one in enumerate(kind) for two in kind[:at])


def test_what_users_wrote_is_text_and_no_markup() -> None:
    evil = machine(1, name="</svg><script>alert(1)</script>\x00\x1b", ports=((80, "javascript:alert(1)"),))
    picture = draw(region((evil,)))
    root = parsed(picture)
    assert not list(root.iter(f"{SVG}script"))
    assert not list(root.iter(f"{SVG}a")), "only web addresses are links"
    assert "<script" not in picture
    assert "</svg><script>" in " ".join(root.itertext())


def test_a_long_name_stays_in_its_card() -> None:
    root = parsed(draw(region((machine(1, name="a-very-long-name-" * 9),))))
    shown = next(text.text or "" for text in root.iter(f"{SVG}text") if text.get("class") == "name")
    assert shown.endswith("…")
    assert len(shown) < 35
    assert any("a-very-long-name-" * 9 in (title.text or "") for title in root.iter(f"{SVG}title")), "whole as a title"


def test_the_colours_follow_the_theme_and_a_file_has_its_own() -> None:
    shown = region((machine(1),))
    for sign in ("var(--jp-ui-font-color0,", "var(--jp-layout-color0,"):
        assert sign in draw(shown)
    assert "prefers-color-scheme" in shown.svg()
    assert "prefers-color-scheme" not in draw(shown), "in a page it would take the system's theme for the page's"
    # Every rule is for the picture alone: a style in a page is everybody's.
    style = re.search(r"<style>(.*?)</style>", draw(shown), re.DOTALL)
    assert style
    assert all(rule.strip().startswith(".ob-map") for rule in re.findall(r"(?:^|\})([^{}]+)\{", style[1]))


def test_a_tree_where_there_are_no_pictures() -> None:
    lines = region((machine(1, name="web", ports=((80, "http://127.0.0.1:20001"),)),)).as_text().splitlines()
    assert lines[0] == "VPC  vpc-1  172.31.0.0/16  (default)"
    assert lines[1].strip() == "subnet  subnet-0  us-east-1a  172.31.0.0/20"
    assert "web  i-" in lines[2]
    assert lines[2].endswith("http://127.0.0.1:20001 -> 80  [web]")
    assert lines[3] == "  2 subnets without instances: us-east-1b, us-east-1c"


def test_rules_in_words() -> None:
    anyone = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    assert rule({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **anyone}) == "tcp 22 from 0.0.0.0/0"
    assert rule({"IpProtocol": "udp", "FromPort": 1, "ToPort": 9, **anyone}) == "udp 1-9 from 0.0.0.0/0"
    assert rule({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}) == "all from sg-1"
    assert rule({"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, **anyone}) == "icmp from 0.0.0.0/0"


def test_the_subcommand_draws_and_writes(cell: Any, cloud: FakeEc2, tmp_path: Path) -> None:
    cloud.add("web")
    cloud.add("db")
    done = cell(f"%ec2 map --svg {tmp_path}/cloud.svg web")
    assert [one.name for one in done.value.machines] == ["web"]
    assert "<svg" in done.value._repr_html_()
    assert parsed((tmp_path / "cloud.svg").read_text()).get("aria-label") == "1 instance in 1 VPC, us-east-1"
    failed = cell(f"%ec2 map --svg {tmp_path}/none/cloud.svg")
    assert "can't be written" in str(failed.error)
