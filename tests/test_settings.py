"""Settings come from the environment alone, and a wrong one is a sentence that names its variable."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from oblako_magic.errors import OblakoError
from oblako_magic.model import PortMapping, parse_publish
from oblako_magic.settings import Settings, default_state_dir


def test_nothing_set_is_the_default() -> None:
    settings = Settings.from_env({})
    assert settings == Settings(state_dir=default_state_dir())
    assert settings.publish_host == "127.0.0.1"
    assert settings.allow_reset is False
    assert settings.limits is True


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("OBLAKO_STATE_DIR", "/x/y", "state_dir", Path("/x/y")),
        ("OBLAKO_STATE_DIR", "~/y", "state_dir", Path.home() / "y"),
        ("OBLAKO_CONTAINER_BACKEND", "podman", "backend", "podman"),
        ("OBLAKO_PUBLISH_VIA", "Relay", "publish_via", "relay"),
        ("OBLAKO_CONTAINER_BACKEND", "", "backend", None),
        ("OBLAKO_EC2_IMAGE", "ubuntu:24.04", "image", "ubuntu:24.04"),
        ("OBLAKO_EC2_IMAGE", "", "image", None),
        ("OBLAKO_PORT", "4000", "port", 4000),
        ("OBLAKO_PUBLISH_HOST", "0.0.0.0", "publish_host", "0.0.0.0"),
        ("OBLAKO_PUBLISH_PORTS", "3000-3010", "publish_ports", (3000, 3010)),
        ("OBLAKO_PUBLISH_PORTS", "3000", "publish_ports", (3000, 3000)),
        ("OBLAKO_EC2_LIMITS", "off", "limits", False),
        ("OBLAKO_EC2_LIMITS", "", "limits", True),
        ("OBLAKO_EC2_SYNCHRONOUS", "on", "synchronous", True),
        ("OBLAKO_EC2_SYNCHRONOUS", "", "synchronous", False),
        ("OBLAKO_EC2_STRICT", "off", "strict", False),
        ("OBLAKO_EC2_STRICT", "", "strict", True),
        ("OBLAKO_EC2_CAPACITY", "off", "capacity", None),
        ("OBLAKO_EC2_CAPACITY", "Host", "capacity", "host"),
        ("OBLAKO_EC2_CAPACITY", "8:16384", "capacity", (8, 16384)),
        ("OBLAKO_TERMINATED_VISIBLE", "0", "terminated_visible", 0),
        ("OBLAKO_ALLOW_RESET", "on", "allow_reset", True),
        ("OBLAKO_ALLOW_RESET", "TRUE", "allow_reset", True),
        ("OBLAKO_ALLOW_RESET", "no", "allow_reset", False),
        ("OBLAKO_LABELS", "a=b, c = d ,e", "labels", {"a": "b", "c": "d", "e": ""}),
        ("OBLAKO_WORKERS", "2", "workers", 2),
        ("OBLAKO_RESYNC", "5", "resync", 5),
        ("OBLAKO_PULL_TIMEOUT", "60", "pull_timeout", 60),
    ],
)
def test_each_variable_sets_its_field(name: str, text: str, field: str, value: Any) -> None:
    assert getattr(Settings.from_env({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OBLAKO_CONTAINER_BACKEND", "containerd"),
        ("OBLAKO_PORT", "http"),
        ("OBLAKO_PORT", "70000"),
        ("OBLAKO_PORT", "-1"),
        ("OBLAKO_PUBLISH_PORTS", "9-3"),
        ("OBLAKO_PUBLISH_PORTS", "0-10"),
        ("OBLAKO_PUBLISH_PORTS", "1-2-3"),
        ("OBLAKO_PUBLISH_VIA", "ssh"),
        ("OBLAKO_WORKERS", "0"),
        ("OBLAKO_WORKERS", "1.5"),
        ("OBLAKO_RESYNC", "0"),
        ("OBLAKO_PULL_TIMEOUT", "soon"),
        ("OBLAKO_EC2_CAPACITY", "much"),
        ("OBLAKO_EC2_CAPACITY", "4"),
        ("OBLAKO_EC2_CAPACITY", "4:-1"),
        ("OBLAKO_TERMINATED_VISIBLE", "-1"),
    ],
)
def test_what_cant_be_used_is_one_sentence_with_the_variable(name: str, text: str) -> None:
    with pytest.raises(OblakoError, match=rf"^{name}=[^\n]*$"):
        Settings.from_env({name: text})


@pytest.mark.parametrize(("name", "text"), [("OBLAKO_ALLOW_RESET", "maybe"), ("OBLAKO_EC2_LIMITS", "maybe")])
def test_a_switch_that_is_neither_on_nor_off_is_not_on(name: str, text: str) -> None:
    field = {"OBLAKO_ALLOW_RESET": "allow_reset", "OBLAKO_EC2_LIMITS": "limits"}[name]
    assert getattr(Settings.from_env({name: text}), field) is False


def test_every_field_is_documented_with_its_variable() -> None:
    text = Settings.__doc__ or ""
    documented = dict(re.findall(r"^    (\w+) : .*\n        ``(OBLAKO_\w+)``", text, re.MULTILINE))
    assert set(documented) == {field.name for field in dataclasses.fields(Settings)}


def test_settings_cant_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.from_env({}).port = 1  # type: ignore[misc]


def test_files_are_in_the_state_directory(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    files = {settings.runtime_file, settings.lock_file, settings.log_file, settings.state_file}
    assert len(files) == 4
    assert {file.parent for file in files} == {tmp_path}


@pytest.mark.parametrize(
    ("text", "mappings"),
    [
        ("", ()),
        ("8888", (PortMapping(8888),)),
        ("8080:80", (PortMapping(80, 8080),)),
        ("8080:80, 8888 ,", (PortMapping(80, 8080), PortMapping(8888))),
        ("80,80", (PortMapping(80),)),
    ],
)
def test_ports_to_publish_are_read(text: str, mappings: tuple[PortMapping, ...]) -> None:
    assert parse_publish(text) == mappings


@pytest.mark.parametrize("text", ["x", "80:x", "0", "65536", "70000:80", "-1:80", "1:2:3", "80/tcp"])
def test_what_is_no_port_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^'[^\n]*' is not a port; [^\n]*\.$"):
        parse_publish(text)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("192.0.2.1", "http://192.0.2.1:80")],
)
def test_a_ports_url_opens_on_this_machine(host: str, url: str) -> None:
    assert PortMapping(1, 80, host).url == url
