"""Rows for the browser, out of the control plane's, and what has changed between two looks. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...model import PortMapping
from ...names import TAG_PREFIX

Row = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """What was last heard of the control plane.

    Parameters
    ----------
    revision : int or None
        None before the first answer.
    rows : mapping of str to dict
        By id; never changed in place.
    problem : str
        Why nothing is heard at the moment; the rows are then the last ones.
    """

    revision: int | None = None
    rows: Mapping[str, Row] = field(default_factory=dict)
    problem: str = ""


def instance_row(raw: Mapping[str, Any]) -> Row:
    """One instance as the browser gets it.

    Parameters
    ----------
    raw : mapping
        A row of the control plane's ``/instances``.
    """
    state = raw["state"]
    failed = raw["user_data"] if raw["user_data"].startswith("failed") else ""
    told = state in {"stopped", "terminated"} and raw["reason_code"] != "Client.UserInitiatedShutdown"
    return {
        "kind": "instance",
        "id": raw["id"],
        "name": raw["name"],
        "state": state,
        "rebooting": bool(raw.get("rebooting")),
        "backed": raw["backed"],
        "type": raw.get("type", ""),
        "image": raw["image"] or raw.get("image_id", ""),
        "image_id": raw.get("image_id", ""),
        "zone": raw.get("zone", ""),
        "private": raw.get("private_ip", ""),
        "public": raw.get("public_ip", ""),
        "ports": [_port(port) for port in raw["ports"]],
        "launched": _seconds(raw.get("launch_time", "")),
        "user_data": raw["user_data"],
        "impaired": raw["impaired"],
        "progress": raw["progress"],
        "remark": (failed and f"user data {failed}") or (raw["reason"] if told else "") or raw["note"],
        "key": raw.get("key_name", ""),
        "groups": [group["name"] or group["id"] for group in raw.get("groups", [])],
        "network": " ".join(filter(None, (raw.get("vpc_id"), raw.get("subnet_id")))),
        "volumes": list(raw.get("volumes", [])),
        "tags": {key: value for key, value in raw.get("tags", {}).items() if key != "Name"},
        "region": raw["region"],
        "account": raw["account"],
        "container": raw["container"],
    }


def notebook_row(raw: Mapping[str, Any]) -> Row:
    """One SageMaker notebook instance as the browser gets it.

    Parameters
    ----------
    raw : mapping
        A row of the control plane's ``/notebooks``.
    """
    status = raw["status"]
    port = raw.get("port") or 0
    return {
        "kind": "notebook",
        "id": f"notebook/{raw['region']}/{raw['name']}",
        "name": raw["name"],
        "state": status,
        "rebooting": False,
        "backed": True,
        "type": raw.get("instance_type", ""),
        "image": raw.get("image", ""),
        "image_id": "",
        "zone": "",
        "private": "",
        "public": "",
        "ports": [{"port": 8888, "host_port": port, "url": f"http://127.0.0.1:{port}", "live": False}] if port else [],
        "launched": _seconds(raw.get("created", "")),
        "user_data": "",
        "impaired": "",
        "progress": raw.get("progress") or "",
        "remark": (raw.get("failure_reason") or "") if status == "Failed" else "",
        "key": "",
        "groups": [],
        "network": "",
        "volumes": [_home(raw["volume_size"])] if raw.get("volume_size") else [],
        "tags": dict(raw.get("tags") or {}),
        "region": raw["region"],
        "account": raw["account"],
        "container": raw.get("container") or "",
        "machine": raw.get("machine") or "",
    }


def _home(size: int) -> Row:
    return {"device": "", "volume_id": "", "root": True, "size": size, "delete_on_termination": True}


def _port(raw: Mapping[str, Any]) -> Row:
    port = PortMapping(raw["container_port"], raw["host_port"], raw["host"])
    return {
        "port": port.container_port,
        "host_port": port.host_port,
        "url": port.url if port.host_port else "",
        "live": bool(raw.get("live")),
    }


def _seconds(moment: Any) -> float:
    if isinstance(moment, (int, float)):
        return float(moment)
    try:
        return datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def rows_of(
    instances: Iterable[Mapping[str, Any]], notebooks: Iterable[Mapping[str, Any]], account: str
) -> dict[str, Row]:
    """All rows of an account by id; the machines behind notebooks are left out."""
    found = [instance_row(raw) for raw in instances if raw["account"] == account and not raw.get("notebook")]
    found += [notebook_row(raw) for raw in notebooks if raw["account"] == account]
    return {row["id"]: row for row in found}


def difference(before: Mapping[str, Row], after: Mapping[str, Row]) -> tuple[list[Row], list[str]]:
    """What has to travel: (rows that are new or different, ids that are gone)."""
    changed = [row for key, row in after.items() if before.get(key) != row]
    return changed, [key for key in before if key not in after]


def shown(rows: Mapping[str, Row], ids: frozenset[str] | None) -> dict[str, Row]:
    """The rows of a panel that is about these ids; None is all."""
    return dict(rows) if ids is None else {key: row for key, row in rows.items() if key in ids}


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that a person has set: without the name and what our own options are kept in."""
    return {key: value for key, value in tags.items() if key != "Name" and not key.startswith(TAG_PREFIX)}


def lost(row: Mapping[str, Any]) -> str:
    """What a terminated instance takes with it, in one sentence for the question before it."""
    label = f"{row['name']} ({row['id']})" if row["name"] else row["id"]
    if row["kind"] == "notebook":
        return f"notebook {row['name']}: its volume with everything in its home folder"
    going = [volume for volume in row["volumes"] if volume["delete_on_termination"]]
    kept = [volume["volume_id"] for volume in row["volumes"] if not volume["delete_on_termination"]]
    size = sum(volume["size"] for volume in going)
    if not row["backed"]:
        return f"{label}: its record; it is simulated and holds no data"
    parts = ["its container"]
    if going:
        what = "volume" if len(going) == 1 else f"{len(going)} volumes"
        parts.append(f"{what} with the data ({size} GiB)" if size else f"{what} with the data")
    ports = [str(port["host_port"]) for port in row["ports"] if port["host_port"]]
    if ports:
        parts.append(f"port{'s' if len(ports) > 1 else ''} {', '.join(ports)}")
    return f"{label}: {', '.join(parts)}" + (f"; {', '.join(kept)} stays" if kept else "")


def event_line(raw: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the control plane's log as the browser gets it.

    Parameters
    ----------
    raw : mapping
        A row of ``/events``.
    """
    what = str(raw["what"])
    bad = any(word in what for word in ("failed", "impaired", "ended by itself"))
    key = f"notebook/{raw['region']}/{raw['name']}" if raw["kind"] == "notebook" else raw["id"]
    return {
        "at": raw["time"],
        "id": key,
        "name": raw["name"] or raw["id"] or raw["kind"],
        "text": what.replace(" -> ", " → "),
        "who": raw["who"],
        "level": "bad" if bad else "",
    }
