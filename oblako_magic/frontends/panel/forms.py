"""The launch form: its fields as arguments, and as the code that does the same. Pure; no I/O."""

from __future__ import annotations

import pprint
import re
import shlex
from collections.abc import Mapping
from typing import Any

from ...errors import OblakoError
from ...lifecycle import DEFAULT_AMI, DEFAULT_TYPE, parse_volumes
from ...model import parse_publish
from ...names import TAG_PUBLISH

_BRACES = re.compile(r"\{([^{}]*)\}")


def _words(value: Any) -> list[str]:
    """A list, or a text with commas, as words."""
    items = value.split(",") if isinstance(value, str) else value or []
    return [str(item).strip() for item in items if str(item).strip()]


def _tags(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(key): str(text) for key, text in value.items()}
    tags = {}
    for word in _words(value):
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise OblakoError(f"{word!r} is no tag; give KEY=VALUE, such as Env=dev.")
        tags[key.strip()] = text.strip()
    return tags


def arguments(form: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``Ec2.run`` that a form means.

    Parameters
    ----------
    form : mapping
        ``image``, ``type``, ``name``, ``count``, ``key``, ``groups``, ``ports``, ``volumes``, ``tags``, ``user_data``,
        ``backed``; all may be missing, lists may be texts with commas.

    Raises
    ------
    OblakoError
        One sentence about the field that can't be used.
    """
    text = str(form.get("count") or 1).strip()
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise OblakoError(f"{text!r} is no count; give a number from 1 to 1000.")
    ports, volumes = _words(form.get("ports")), _words(form.get("volumes"))
    try:
        parse_publish(",".join(ports))
    except ValueError as error:
        raise OblakoError(str(error)) from None
    parse_volumes(volumes)
    found: dict[str, Any] = {
        "image": str(form.get("image") or "").strip() or None,
        "instance_type": str(form.get("type") or "").strip() or DEFAULT_TYPE,
        "name": str(form.get("name") or "").strip() or None,
        "count": int(text),
        "publish": ports,
        "key": str(form.get("key") or "").strip() or None,
        "security_groups": _words(form.get("groups")),
        "tags": _tags(form.get("tags")),
        "volumes": volumes,
        "user_data": str(form.get("user_data") or "").replace("\r\n", "\n") or None,
        "backed": bool(form.get("backed", True)),
    }
    return found


def _quoted(text: str) -> str:
    """A word of the magic's line: quoted where it must be, and safe from the line's own expansion."""
    # Between single quotes a $ is left alone; braces are expanded there, too, unless they are doubled.
    doubled = _BRACES.sub(r"{{\1}}", text)
    return text if shlex.quote(text) == text else "'" + doubled.replace("'", "'\"'\"'") + "'"


def magic(form: Mapping[str, Any]) -> str:
    """The ``%ec2 run`` line that does the same; a cell where there is user data."""
    wanted = arguments(form)
    words = ["run"]
    for option, value in (
        ("--name", wanted["name"]),
        ("--image", wanted["image"]),
        ("--type", wanted["instance_type"] if wanted["instance_type"] != DEFAULT_TYPE else None),
        ("--count", str(wanted["count"]) if wanted["count"] != 1 else None),
        ("--key", wanted["key"]),
    ):
        if value:
            words += [option, _quoted(value)]
    for option, values in (
        ("--sg", wanted["security_groups"]),
        ("--publish", wanted["publish"]),
        ("--volume", wanted["volumes"]),
        ("--tag", [f"{key}={value}" for key, value in wanted["tags"].items()]),
    ):
        for value in values:
            words += [option, _quoted(value)]
    if not wanted["backed"]:
        words.append("--no-container")
    line = " ".join(words)
    data = wanted["user_data"]
    return f"%ec2 {line}" if not data else f"%%ec2 {line}\n{data}"


def boto3_code(form: Mapping[str, Any]) -> str:
    """The boto3 code that does the same."""
    wanted = arguments(form)
    tags = {**({"Name": wanted["name"]} if wanted["name"] else {}), **wanted["tags"]}
    if wanted["publish"]:
        tags[TAG_PUBLISH] = ",".join(wanted["publish"])
    if not wanted["backed"]:
        tags["oblako:backed"] = "false"
    call: dict[str, Any] = {
        "ImageId": wanted["image"] or DEFAULT_AMI,
        "InstanceType": wanted["instance_type"],
        "MinCount": wanted["count"],
        "MaxCount": wanted["count"],
    }
    ids = [group for group in wanted["security_groups"] if group.startswith("sg-")]
    named = [group for group in wanted["security_groups"] if not group.startswith("sg-")]
    optional: dict[str, Any] = {
        "KeyName": wanted["key"],
        "SecurityGroupIds": ids,
        "SecurityGroups": named,
        "BlockDeviceMappings": parse_volumes(wanted["volumes"]),
        "UserData": wanted["user_data"],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ]
        if tags
        else None,
    }
    call.update({name: value for name, value in optional.items() if value})
    lines = ["import boto3", "", 'ec2 = boto3.client("ec2")', "answer = ec2.run_instances("]
    for name, value in call.items():
        text = pprint.pformat(value, width=72, sort_dicts=False).replace("\n", "\n    ")
        lines.append(f"    {name}={text},")
    lines += [")", 'ids = [instance["InstanceId"] for instance in answer["Instances"]]']
    lines.append('ec2.get_waiter("instance_running").wait(InstanceIds=ids)')
    return "\n".join(lines)


def form_of(row: Mapping[str, Any], user_data: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """The form that launches an instance like this one."""
    wanted = row["tags"].get(TAG_PUBLISH, "")
    return {
        "image": row["image_id"] or row["image"],
        "type": row["type"],
        "name": row["name"],
        "count": 1,
        "key": row["key"],
        "groups": ", ".join(group for group in row["groups"] if group != "default"),
        # Without the host ports: those are taken by the one that this is a copy of.
        "ports": ", ".join(str(port.container_port) for port in parse_publish(wanted)) if wanted else "",
        "volumes": ", ".join(f"{v['device']}={v['size']}" for v in row["volumes"] if v["size"] and not v["root"]),
        "tags": ", ".join(f"{key}={value}" for key, value in tags.items()),
        "user_data": user_data,
        "backed": row["backed"],
    }
