"""An image with a small stand-in for JupyterLab: up in a blink, with its answers and its refusals."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from tests.support.sweep import RUN

JUPYTER = """#!/usr/bin/python3
import datetime, http.server, json, os, runpy, socketserver, sys, time

class Section:
    def __getattr__(self, name):
        value = Section()
        setattr(self, name, value)
        return value

sys.modules["jupyter_server"] = type(sys)("jupyter_server")
sys.modules["jupyter_server"].version_info = (2, 0)
config = Section()
folder = os.environ["JUPYTER_CONFIG_PATH"].split(":")[0]
runpy.run_path(folder + "/jupyter_server_config.py", {"get_config": lambda: config})
token, root = config.IdentityProvider.token, config.ServerApp.root_dir
if os.path.exists(root + "/crash"):
    print("the last words", flush=True)
    sys.exit(3)
started = datetime.datetime.now(datetime.timezone.utc)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        allowed = f"token={token}" in self.path or self.headers.get("Authorization") == f"token {token}"
        body, code = b"", 200
        if path == "/api":
            body = b'{"version": "2.0"}'
        elif not allowed:
            code = 403
        elif path == "/api/status":
            body = json.dumps({"last_activity": started.isoformat().replace("+00:00", "Z")}).encode()
        elif path == "/api/kernels":
            busy = os.path.exists(root + "/busy")
            body = b'[{"execution_state": "busy"}]' if busy else b"[]"
        else:
            body = path.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

time.sleep(float(os.environ.get("SLOW", "0")))
Server((config.ServerApp.ip, config.ServerApp.port), Handler).serve_forever()
"""

GIT = """#!/bin/sh
# git clone --quiet [--branch BRANCH] -- URL FOLDER
branch=
[ "$3" = --branch ] && branch=$4 && shift 2
shift 3
case $1 in *broken*) echo "fatal: repository '$1' not found" >&2; exit 128 ;; esac
mkdir "$2" && echo "$1 $branch $(id -un)" > "$2/README"
"""


def build(api: Any, base: str, tag: str, run: str) -> str:
    """Make the image from the base image; the name, which the caller removes.

    Parameters
    ----------
    api : docker.APIClient
    base : str
    tag : str
        Of the image.
    run : str
        The run's id, for the label.
    """
    name = f"oblako-test/jupyter:{tag}"
    made = api.create_container(base, command=["true"], labels={RUN: run})["Id"]
    try:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for command, text in (("jupyter", JUPYTER), ("git", GIT)):
                entry = tarfile.TarInfo(f"usr/local/bin/{command}")
                entry.size, entry.mode = len(text), 0o755
                archive.addfile(entry, io.BytesIO(text.encode()))
        api.put_archive(made, "/", buffer.getvalue())
        api.commit(made, repository=name.partition(":")[0], tag=tag, changes=[f"LABEL {RUN}={run}"])
    finally:
        api.remove_container(made, force=True, v=True)
    return name
