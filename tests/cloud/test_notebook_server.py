"""``publish_notebook`` with servers that are no JupyterLab: what it promises holds for any that speaks HTTP."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from oblako_magic import Ec2, OblakoError, WaitError, publish_notebook
from oblako_magic.engine import build
from oblako_magic.handles import Instance
from oblako_magic.model import ContainerState
from tests.support.plane import ControlPlane, eventually

TOKEN = "a-token-that-nobody-sees"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Serves /healthz once /ebs/up is there, a page to who knows the token, and a WebSocket that echoes at /ws.
SERVER = r"""#!/usr/bin/env python3
import base64, hashlib, os, struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200 if os.path.exists("/ebs/up") else 503)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.websocket()
        known = self.headers.get("Authorization") == "token TOKEN" or self.path.endswith("?token=TOKEN")
        return self.answer(200 if known else 403)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "GUID"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                break
            size = head[1] & 127
            if size == 126:
                (size,) = struct.unpack("!H", self.rfile.read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.rfile.read(8))
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(size)))
            self.wfile.write(bytes([head[0], 127]) + struct.pack("!Q", size) + data)
        self.close_connection = True

ThreadingHTTPServer(("", 9000), Handler).serve_forever()
""".replace("TOKEN", TOKEN).replace("GUID", _GUID)


@pytest.fixture(scope="module")
def served(cloud: Ec2, base_image: str) -> Iterator[Instance]:
    """An instance that runs the server, without a published port."""
    (instance,) = cloud.run(name="served", image=base_image, user_data=SERVER)
    yield instance
    instance.terminate()


class WebSocket:
    """As much of RFC 6455 as a client needs that sends and gets binary messages."""

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self._socket = socket.create_connection(address, 20)
        self._file = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b"".join(iter(self._file.readline, b"\r\n")).decode()
        assert head.startswith("HTTP/1.1 101"), head
        assert base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode() in head

    def send(self, data: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self._socket.sendall(b"\x82\xff" + struct.pack("!Q", len(data)) + mask + masked)

    def receive(self) -> bytes:
        assert self._file.read(2) == b"\x82\x7f"
        (size,) = struct.unpack("!Q", self._file.read(8))
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_waits_until_the_server_is_ready(cloud: Ec2, served: Instance) -> None:
    start = time.monotonic()
    with pytest.raises(WaitError, match=r"/healthz was not ready there within 1.5 s \((status 503|nothing listens)\)"):
        publish_notebook(served, 9000, ready="/healthz", timeout=1.5)
    assert time.monotonic() - start < 20
    (port,) = served.ports
    assert (port.container_port, port.live) == (9000, True)
    served.exec("touch /ebs/up", check=True)
    server = publish_notebook(served, 9000, path="lab", ready="healthz", token=TOKEN)
    assert (server.url, server.port, server.instance_id) == (f"{port.url}/lab", port, served.id)
    assert cloud.publish_notebook(served, 9000, path="/lab", ready="/healthz", token=TOKEN) == server


def test_the_token_is_not_shown_and_the_link_opens_once(served: Instance) -> None:
    served.exec("touch /ebs/up", check=True)
    server = publish_notebook(served, 9000, path="/lab", ready="/healthz", token=TOKEN)
    assert status(server.url) == 403
    first, second = server.open_url, server.open_url
    assert first != second
    assert [status(first), status(first), status(second)] == [200, 403, 200]
    html = server._repr_html_()
    for shown in (repr(server), str(server), first, html, server.embed()._repr_html_()):
        assert TOKEN not in shown
    assert f'<a href="{server.url}"' in html
    assert server.embed(300)._repr_html_().startswith("<iframe")
    assert str(server.embed()) == server.url
    late = server.open_url
    served.unpublish(9000)
    assert status(late) == 403
    with pytest.raises(OblakoError, match=r"port 9000 of .* is not published"):
        _ = server.open_url


def test_websockets_go_through_and_end_with_the_publishing(served: Instance) -> None:
    served.exec("touch /ebs/up", check=True)
    port = publish_notebook(served, 9000, ready="/healthz").port
    sockets = [WebSocket((port.host, port.host_port), "/ws") for _ in range(10)]
    for number, one in enumerate(sockets):
        one.send(b"%d" % number)
    assert [one.receive() for one in sockets] == [b"%d" % number for number in range(10)]
    large = secrets.token_bytes(1_000_000)
    sockets[0].send(large)
    assert sockets[0].receive() == large
    time.sleep(2)  # an idle one stays open
    sockets[1].send(b"still here")
    assert sockets[1].receive() == b"still here"
    served.unpublish(9000)
    assert served.ports == []
    with pytest.raises((ConnectionError, AssertionError)):
        sockets[2].receive()
    for one in sockets:
        one.close()


def test_an_instance_that_ends_is_not_waited_for(cloud: Ec2) -> None:
    (instance,) = cloud.run(name="ends", image=build.TINY_IMAGE, user_data="#!/bin/sh\nsleep 3\npoweroff\n")
    with pytest.raises(OblakoError, match=r"is stop(ping|ped): its server can't answer any more"):
        publish_notebook(instance, 8888, timeout=60)
    instance.terminate()


@pytest.fixture
def alone(cloud: Ec2) -> Iterator[ContainerState]:
    """A container without a control plane, with a server."""
    instance_id = f"i-alone{secrets.token_hex(5)}"
    command = ["sh", "-c", "mkdir -p /srv/api; echo '{}' > /srv/api/index.html; exec httpd -f -p 8888 -h /srv"]
    yield cloud.start_instance_container(
        instance_id, image=build.TINY_IMAGE, command=command, published_ports=[8888, "9999"]
    )
    cloud.terminate_instance_container(instance_id)


@pytest.mark.both_engines
def test_a_container_of_ones_own(shared_control_plane: ControlPlane, cloud: Ec2, alone: ContainerState) -> None:
    server = cloud.publish_notebook(alone, path="/api/", ready="/api/", token=TOKEN)
    assert status(server.url) == 200
    assert server.open_url == f"{server.url}?token={TOKEN}"
    assert TOKEN not in f"{server} {server!r} {server._repr_html_()}"
    with pytest.raises(WaitError, match=r"/nothing was not ready .* \(status 404\)"):
        cloud.publish_notebook(alone, ready="/nothing", timeout=0.5)
    with pytest.raises(WaitError, match=r"\(nothing listens\)"):
        cloud.publish_notebook(alone, 9999, timeout=0.5)
    with pytest.raises(OblakoError, match=r"is not published, and only .* published_ports=\['80'\]"):
        cloud.publish_notebook(alone, 80)


def test_the_engines_and_the_live_ports_are_told_apart(cloud: Ec2) -> None:
    (instance,) = cloud.run(name="both", image=build.TINY_IMAGE, publish=["81"])
    live = instance.publish(80)
    assert [(port.container_port, port.live) for port in cloud.get(instance.id).ports] == [(81, False), (80, True)]
    assert [port.live for port in instance.ports] == [False, True]
    with pytest.raises(OblakoError, match="published at its launch"):
        instance.unpublish(81)
    instance.unpublish(80)
    assert [port.container_port for port in cloud.get(instance.id).ports] == [81]

    def refused() -> bool:
        try:
            socket.create_connection((live.host, live.host_port), 5).close()
        except ConnectionRefusedError:
            return True
        return False

    assert eventually(refused)
    instance.terminate()
