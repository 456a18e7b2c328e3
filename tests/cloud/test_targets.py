"""Which instances a person means: the whole table, without any engine."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from oblako_magic import targets
from oblako_magic.errors import TargetError
from oblako_magic.handles import Instance

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
POOL = [
    Instance("i-0aaa111122223333", name="web-1", launch_time=NOON),
    Instance("i-0aaa999922223333", name="web-2", launch_time=NOON + timedelta(minutes=2)),
    Instance("i-0bbb111122223333", name="db", launch_time=NOON + timedelta(minutes=1)),
    Instance("i-0ccc111122223333", name="twin", launch_time=NOON - timedelta(minutes=1)),
    Instance("i-0ddd111122223333", name="twin", launch_time=NOON - timedelta(minutes=2)),
    Instance("i-0eee111122223333"),
    Instance("i-0fff111122223333", name="i-0bbb111122223333", launch_time=NOON),
    Instance("i-0fff999922223333", name="0ccc", launch_time=NOON),
    Instance("i-0fff888822223333", name="a[1]", launch_time=NOON),
]


def short(instances: list[Instance]) -> list[str]:
    return [instance.id[2:6] + instance.id[6:9] for instance in instances]


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("i-0aaa111122223333", ["0aaa111"]),  # the whole id
        ("i-0aaa1", ["0aaa111"]),  # a prefix
        ("0aaa9", ["0aaa999"]),  # without the i-
        ("web-1", ["0aaa111"]),  # the Name
        ("twin", ["0ccc111", "0ddd111"]),  # a Name that two have
        ("web-*", ["0aaa111", "0aaa999"]),
        ("i-0aaa*", ["0aaa111", "0aaa999"]),
        ("web-?", ["0aaa111", "0aaa999"]),
        ("web-[2-9]", ["0aaa999"]),
        ("a[1]", ["0fff888"]),  # a Name comes before a glob
        ("@last", ["0aaa999"]),  # the youngest by launch time, wherever it stands
        ("i-0bbb111122223333", ["0bbb111"]),  # an id comes before somebody's Name
        ("0ccc", ["0fff999"]),  # a Name comes before a prefix
        ("i-0e", ["0eee111"]),  # one without a Name
    ],
)
def test_what_is_meant(target: str, meant: list[str]) -> None:
    assert short(targets.match(target, POOL)) == meant


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("i-0aaa", ["several", "web-1", "web-2", "i-0aaa*"]),
        ("0aaa", ["several", "web-1", "web-2"]),
        ("web", ["web-1", "web-2"]),  # a part of a Name is none
        ("wbe-1", ["did you mean", "web-1"]),
        ("zzz-*", ["no instance matches"]),
        ("WEB-1", ["no instance is called"]),  # AWS's tags tell capitals apart
        ("", ["no instance is called"]),
        ("i-", ["several"]),
    ],
)
def test_what_is_refused_names_the_candidates(target: str, words: list[str]) -> None:
    with pytest.raises(TargetError) as caught:
        targets.match(target, POOL)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["@last", "web", "web-*", "i-0"])
def test_nothing_there_yet(target: str) -> None:
    with pytest.raises(TargetError, match="%ec2"):
        targets.match(target, [])


def test_many_candidates_are_not_all_listed() -> None:
    crowd = [Instance(f"i-0abc{number:04d}", name=f"worker-{number}") for number in range(50)]
    with pytest.raises(TargetError) as caught:
        targets.match("i-0abc", crowd)
    assert "and 44 more" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_several_targets_give_each_instance_once_in_order() -> None:
    assert short(targets.resolve(["db", "web-*", "web-1", "i-0bbb"], POOL[:3])) == ["0bbb111", "0aaa111", "0aaa999"]
    with pytest.raises(TargetError):
        targets.resolve(["db", "nobody"], POOL)
    assert targets.resolve([], POOL) == []


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("tag:Env=dev", "tag:Env", ["dev"]),
        ("tag:Env=dev,test", "tag:Env", ["dev", "test"]),
        ("tag:Q=a=b", "tag:Q", ["a=b"]),
        ("instance-type=t3.micro", "instance-type", ["t3.micro"]),
        ("tag:Empty=", "tag:Empty", [""]),
    ],
)
def test_filters(text: str, name: str, values: list[str]) -> None:
    assert targets.parse_filter(text) == {"Name": name, "Values": values}


@pytest.mark.parametrize("text", ["tag:Env", "=dev", ""])
def test_no_filters(text: str) -> None:
    with pytest.raises(TargetError, match="NAME=VALUE"):
        targets.parse_filter(text)
