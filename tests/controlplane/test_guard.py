"""Who may call the endpoint: as a table, and through sockets against one that runs."""

from __future__ import annotations

import http.client
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest

from oblako_magic.controlplane.guard import Guard, host_name
from oblako_magic.controlplane.process import API, HEADER
from tests.controlplane.planes import Plane

SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"
QUERY = b"Action=DescribeInstances&Version=2016-11-15"


def environ(**changes: str | None) -> dict[str, str]:
    """A request that passes, with changes; None takes a header away."""
    base: dict[str, str | None] = {
        "HTTP_HOST": "127.0.0.1:5000",
        "HTTP_AUTHORIZATION": SIGNED,
        "PATH_INFO": "/",
        **changes,
    }
    return {key: value for key, value in base.items() if value is not None}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:5000",
        "127.0.0.1",
        "localhost:5000",
        "LOCALHOST:1",
        "localhost.",
        "[::1]:5000",
        "host.docker.internal:5000",
    ],
)
def test_hosts_that_are_this_endpoints_pass(host: str) -> None:
    assert Guard().refusal(environ(HTTP_HOST=host), QUERY) == ""


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({"HTTP_AUTHORIZATION": SIGNED.replace("test", "000000000042")}, QUERY),
        ({"HTTP_X_MOTO_ACCOUNT_ID": "000000000042"}, QUERY),
        ({}, b"Action=AssumeRole&RoleSessionName=x&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000042%3Arole%2Fany"),
    ],
)
def test_nobody_acts_in_the_account_of_notebook_machines(changes: dict[str, Any], body: bytes) -> None:
    assert "000000000042" in Guard().refusal(environ(**changes), body)
    assert Guard().refusal(environ(), body.replace(b"000000000042", b"123456789012")) == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1:5000@evil.example",
        "evil.example#127.0.0.1",
        "127.1",
        "2130706433",
        "0.0.0.0:5000",
        "169.254.169.254",
        "ec2.us-east-1.amazonaws.com",
        "",
        "[",
        "172.17.0.1:5000",
    ],
)
def test_other_hosts_are_refused(host: str) -> None:
    assert "Host header" in Guard().refusal(environ(HTTP_HOST=host), QUERY)


def test_a_request_without_a_host_is_refused() -> None:
    assert "Host header" in Guard().refusal(environ(HTTP_HOST=None), QUERY)


def test_the_bridges_address_passes_once_it_is_known() -> None:
    guard = Guard()
    assert guard.refusal(environ(HTTP_HOST="172.17.0.1:5000"), QUERY)
    guard.allow_hosts(["172.17.0.1"])
    assert guard.refusal(environ(HTTP_HOST="172.17.0.1:5000"), QUERY) == ""
    assert Guard().refusal(environ(HTTP_HOST="172.17.0.1:5000"), QUERY), "allowed for all guards"


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (None, True),
        ("http://127.0.0.1:5000", True),
        ("http://evil.example", False),
        ("https://127.0.0.1:5000", False),
        ("http://127.0.0.1:8888", False),
        ("http://localhost:5000", False),
        ("null", False),
        ("", False),
    ],
)
def test_foreign_origins_are_refused(origin: str | None, passes: bool) -> None:
    assert (Guard().refusal(environ(HTTP_ORIGIN=origin), QUERY) == "") is passes


@pytest.mark.parametrize(
    ("site", "passes"),
    [(None, True), ("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)],
)
def test_what_another_site_makes_a_browser_send_is_refused(site: str | None, passes: bool) -> None:
    assert (Guard().refusal(environ(HTTP_SEC_FETCH_SITE=site), QUERY) == "") is passes


@pytest.mark.parametrize(
    ("changes", "body", "word"),
    [
        ({"HTTP_AUTHORIZATION": None}, QUERY, "not signed"),
        ({"HTTP_AUTHORIZATION": None}, b"", "not signed"),
        ({"HTTP_AUTHORIZATION": None}, b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15", ""),
        ({"HTTP_AUTHORIZATION": None}, b"Version=2011-06-15&Action=AssumeRoleWithSAML", ""),
        ({"HTTP_AUTHORIZATION": None}, b"Action=RunInstances&X=AssumeRoleWithSAML", "not signed"),
        ({"PATH_INFO": "/moto-api/reset"}, b"", "OBLAKO_ALLOW_RESET"),
        ({"PATH_INFO": "/moto-api/data.json"}, b"", "OBLAKO_ALLOW_RESET"),
        ({"PATH_INFO": "/latest/meta-data/"}, b"", "metadata"),
        ({"PATH_INFO": "/latest/api/token"}, b"", "metadata"),
        ({"PATH_INFO": f"{API}/status"}, b"", HEADER),
        ({"PATH_INFO": f"{API}/status", "HTTP_X_OBLAKO": "1"}, b"", ""),
        ({"PATH_INFO": f"{API}/stop", "HTTP_X_OBLAKO": "1", "HTTP_ORIGIN": "http://evil.example"}, b"", "origin"),
    ],
)
def test_what_is_not_signed_or_not_for_clients_is_refused(changes: dict[str, Any], body: bytes, word: str) -> None:
    refusal = Guard().refusal(environ(**changes), body)
    assert word in refusal if word else refusal == ""


def test_motos_own_api_passes_where_it_is_allowed() -> None:
    assert Guard(allow_reset=True).refusal(environ(PATH_INFO="/moto-api/reset", HTTP_AUTHORIZATION=None), b"") == ""
    assert Guard(allow_reset=True).refusal(environ(PATH_INFO="/moto-api/reset", HTTP_ORIGIN="http://evil.example"), b"")


@pytest.mark.parametrize(
    ("value", "name"), [("h:1", "h"), ("[::1]:1", "::1"), ("h.", "h"), ("H", "h"), ("", ""), ("a:b:c", "a"), ("[", "")]
)
def test_the_host_part_is_read_as_urls_have_it(value: str, name: str) -> None:
    assert host_name(value) == name


# -- against one that runs ----------------------------------------------------------------------------


def address(plane: Plane) -> tuple[str, int]:
    parts = urlsplit(plane.endpoint)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def ask(plane: Plane, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """One request with exactly these headers, beside Host, Authorization and Content-Type, which None takes away."""
    host, port = address(plane)
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = {"Host": f"{host}:{port}", "Authorization": SIGNED, "Content-Type": "application/x-www-form-urlencoded"}
        for key, value in {**given, **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
            if value:
                connection.putheader(key, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


RUN = b"Action=CreateVpc&Version=2016-11-15&CidrBlock=10.99.0.0/16"


def vpcs(plane: Plane) -> int:
    return len(plane.client().describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.99.0.0/16"]}])["Vpcs"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Authorization": ""},
    ],
    ids=lambda headers: "-".join(headers),
)
def test_a_refused_write_changes_nothing(plane: Plane, headers: dict[str, str]) -> None:
    before = vpcs(plane)
    status, body, answer = ask(plane, "POST", "/", RUN, **headers)
    assert status == 403
    assert b"<Code>AccessDenied</Code>" in body
    assert "access-control-allow-origin" not in answer
    assert vpcs(plane) == before


def test_the_same_write_passes_with_what_a_client_sends(plane: Plane) -> None:
    before = vpcs(plane)
    status, body, _ = ask(plane, "POST", "/", RUN)
    assert (status, b"<vpcId>vpc-" in body) == (200, True)
    assert vpcs(plane) == before + 1


def test_no_preflight_is_answered_with_leave(plane: Plane) -> None:
    status, _, headers = ask(
        plane, "OPTIONS", "/", Authorization="", Origin="http://evil.example", Access_Control_Request_Method="POST"
    )
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    ["/moto-api/reset", "//moto-api/reset", "/moto-api/../moto-api/reset", "/MOTO-API/reset", "/%6doto-api/reset"],
)
def test_reset_is_refused_by_default_however_it_is_spelt(plane: Plane, path: str) -> None:
    instance_id = plane.run()
    ask(plane, "POST", path)
    assert plane.state(instance_id) == "running"
    container = plane.container(instance_id)
    assert container is not None
    assert container["State"]["Running"]
    status, body, _ = ask(plane, "POST", "/moto-api/reset")
    assert status == 403
    assert b"OBLAKO_ALLOW_RESET" in body


@pytest.mark.parametrize("path", ["/latest/meta-data/iam/security-credentials/", "/latest/api/token"])
def test_it_is_no_metadata_service(plane: Plane, path: str) -> None:
    status, body, _ = ask(plane, "GET", path)
    assert (status, b"metadata" in body) == (403, True)


def test_errors_speak_the_clients_protocol(plane: Plane) -> None:
    _, json_body, headers = ask(plane, "POST", "/", b"{}", X_Amz_Target="AmazonSSM.GetParameter", Host="evil.example")
    assert headers["content-type"].startswith("application/x-amz-json")
    assert b'"__type": "AccessDenied"' in json_body


def raw(plane: Plane, data: bytes) -> bytes:
    """Send bytes; what comes back until the server is done or hangs up."""
    with socket.create_connection(address(plane), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
        return answer


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
        b"POST http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"A" * 100_000,
    ],
    ids=["no host", "two hosts", "foreign absolute", "negative length", "huge length", "bad chunk", "tls", "noise"],
)
def test_odd_bytes_get_an_error_or_nothing_and_the_endpoint_lives_on(plane: Plane, data: bytes) -> None:
    answer = raw(plane, data)
    assert answer == b"" or int(answer.split(b" ", 2)[1]) >= 400, answer[:200]
    assert plane.api("GET", "/hello")["service"] == "oblako_magic"


def test_only_loopback_and_the_bridge_are_listened_on(plane: Plane) -> None:
    _, port = address(plane)
    bridge = plane.engine.api.inspect_network("bridge")["IPAM"]["Config"][0]
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    found = {socket.inet_ntoa(bytes.fromhex(item)[::-1]) for item in listening}
    assert "127.0.0.1" in found
    prefix = bridge["Subnet"].split(".")[0]
    assert all(item == "127.0.0.1" or item.startswith(f"{prefix}.") for item in found), found


def test_a_slow_client_does_not_hold_the_others_up(plane: Plane) -> None:
    slow = [socket.create_connection(address(plane), timeout=10) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nAction=")
        answered = threading.Event()

        def describe() -> None:
            plane.client().describe_vpcs()
            answered.set()

        thread = threading.Thread(target=describe)
        thread.start()
        assert answered.wait(10)
        thread.join()
    finally:
        for connection in slow:
            connection.close()
