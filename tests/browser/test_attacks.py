"""What a web page of somebody else's can do to the control plane, tried in a real browser: nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from oblako_magic.controlplane.process import API, HEADER
from tests.conftest import missing
from tests.support.plane import ControlPlane

pytestmark = [pytest.mark.browser]

WRITE = "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.97.0.0/16"
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"
FORM = """
  const form = document.createElement("form");
  form.method = "POST"; form.action = URL; form.target = "there";
  for (const [name, value] of new URLSearchParams(WRITE)) {
    const field = document.createElement("input"); field.name = name; field.value = value; form.append(field);
  }
  const frame = document.createElement("iframe"); frame.name = "there"; document.body.append(frame, form);
  const done = new Promise(resolve => frame.onload = resolve);
  form.submit(); await done; return "sent";
"""
FETCH = 'try { const r = await fetch(URL, %s); return r.type + " " + r.status } catch (error) { return "refused" }'
TRIES = {
    "a form": FORM,
    "an image": """
      const image = new Image(); image.src = URL + "?" + WRITE;
      await new Promise(done => image.onerror = done); return "sent";""",
    "no-cors": FETCH % '{method: "POST", mode: "no-cors", body: new URLSearchParams(WRITE)}',
    "a beacon": 'navigator.sendBeacon(URL, new URLSearchParams(WRITE)); return "sent"',
    "signed": FETCH % '{method: "POST", body: WRITE, headers: {Authorization: AUTHORIZATION}}',
    "own api": FETCH.replace("URL", "URL + API + '/stop'") % '{method: "POST", body: "{}", headers: {[HEADER]: "1"}}',
    "own api, simple": FETCH.replace("URL", "URL + API + '/stop'") % '{method: "POST", mode: "no-cors", body: "{}"}',
    "null origin": """
      const frame = document.createElement("iframe"); frame.sandbox = "allow-scripts";
      frame.srcdoc = `<script>fetch(${JSON.stringify(URL)}, {method: "POST", mode: "no-cors", body: ${
        JSON.stringify(WRITE)}}).finally(() => parent.postMessage("sent", "*"))<\\/script>`;
      const done = new Promise(resolve => addEventListener("message", resolve, {once: true}));
      document.body.append(frame); await done; return "sent";""",
    "a websocket": """
      const socket = new WebSocket(URL.replace("http", "ws"));
      return await new Promise(d => { socket.onopen = () => d("opened"); socket.onerror = () => d("refused"); });""",
}


class Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def evil() -> Iterator[Any]:
    """A page of another origin, open in Chromium, where ``evil.example`` has been rebound to loopback."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not installed")
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=[
                    "--no-sandbox",
                    "--disable-background-networking",
                    "--host-resolver-rules=MAP evil.example 127.0.0.1",
                ],
            )
            page = browser.new_page()
            page.set_default_timeout(30_000)
            page.goto(f"http://evil.example:{server.server_port}/")
            yield page
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


def _vpcs(plane: ControlPlane) -> list[str]:
    return [vpc["CidrBlock"] for vpc in plane.client().describe_vpcs()["Vpcs"]]


def _run(page: Any, url: str, code: str) -> str:
    names = "URL, WRITE, AUTHORIZATION, API, HEADER"
    return str(page.evaluate(f"async ([{names}]) => {{ {code} }}", [url, WRITE, AUTHORIZATION, API, HEADER]))


@pytest.mark.parametrize("name", list(TRIES))
def test_a_page_changes_nothing(evil: Any, shared_control_plane: ControlPlane, name: str) -> None:
    plane = shared_control_plane
    seen = _run(evil, plane.endpoint + "/" if "api" not in name else plane.endpoint, TRIES[name])
    assert seen in ("sent", "refused", "opaque 0"), "it reads nothing either"
    assert "10.97.0.0/16" not in _vpcs(plane)


def test_a_rebound_name_changes_nothing(evil: Any, shared_control_plane: ControlPlane) -> None:
    """After DNS rebinding the page is of the endpoint's own origin, and may set every header."""
    plane, home = shared_control_plane, evil.url
    port = plane.endpoint.rpartition(":")[2]
    try:
        evil.goto(f"http://evil.example:{port}/")
        for name in ("signed", "own api", "no-cors"):
            url = f"http://evil.example:{port}"
            seen = _run(evil, url, TRIES[name])
            assert seen.endswith("403"), (name, seen)
    finally:
        evil.goto(home)
    assert "10.97.0.0/16" not in _vpcs(plane)
