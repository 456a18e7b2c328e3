"""User data: a script that runs once, at the first boot, as root, as cloud-init does it.

The script, its output and its exit code live in the instance at cloud-init's own places, so that they
survive a restart of the control plane and a person finds them where the EC2 user guide says.
"""

from __future__ import annotations

import base64
import binascii
import logging
import threading
import time
from collections.abc import Callable

from ..engine import Engine, containers, streams
from ..errors import EngineError

log = logging.getLogger(__name__)

SCRIPT = "/var/lib/cloud/instance/user-data.txt"
RUNNER = "/var/lib/cloud/instance/run-user-data"
RESULT = "/var/lib/cloud/instance/user-data.exit"
"""The exit code and the id of the instance that it is of."""
OUTPUT = "/var/log/cloud-init-output.log"

BEGUN = "/var/lib/cloud/instance/begun-"
"""With the instance's id, which an image made of the instance does not share. It is a link, because that is made
and filled in one step: it names the start of process 1 in which the script began."""

# tee's copy goes to process 1's output, where the engine's log, and with it GetConsoleOutput, has it;
# an image whose process 1 is another user's does not allow that, and the file alone must do.
_RUNNER = f"""#!/bin/sh
# Made by oblako_magic: runs the user data once and keeps its exit code.
cd / || exit 1
id=$1
begun={BEGUN}$id
read -r boot < /proc/1/stat
set -- $boot
boot=${{22}}
end() {{ echo "$1 $id" > {RESULT}.new; mv {RESULT}.new {RESULT}; exit "$1"; }}
if ! ln -s "$boot" "$begun" 2>/dev/null; then
  # It began already, but the control plane was killed before it could note so: wait for it, unless it died meanwhile.
  until read -r code of 2>/dev/null < {RESULT} && [ "$of" = "$id" ]; do
    [ "$(readlink "$begun")" = "$boot" ] || end 143
    sleep 0.2 2>/dev/null || sleep 1
  done
  exit "$code"
fi
rm -f {RESULT}
copy=/dev/null
(: > /proc/1/fd/1) 2>/dev/null && copy=/proc/1/fd/1
(umask 027; mkdir -p {OUTPUT.rpartition("/")[0]}; : >> {OUTPUT})
{{ {SCRIPT} 2>&1; echo $? > {RESULT}.code; }} | tee -a {OUTPUT} > "$copy"
read -r code < {RESULT}.code
end "$code"
""".encode()


def decode(encoded: object) -> bytes:
    """User data as the script's bytes; AWS carries it in base64, some clients don't."""
    text = str(encoded or "")
    if not text:
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()


def is_script(data: bytes) -> bool:
    """Whether the user data is a script: its first line is a shebang."""
    return data.startswith(b"#!")


def prepare(engine: Engine, instance_id: str, data: bytes) -> None:
    """Put the script and its runner in place."""
    streams.put_files(engine, instance_id, [(SCRIPT, data, 0o700), (RUNNER, _RUNNER, 0o700)])


def status(code: int) -> str:
    """The exit code in the word that ``%ec2 show`` has."""
    return "done" if code == 0 else f"failed (exit {code})"


def result(engine: Engine, instance_id: str) -> int | None:
    """The exit code that the runner kept; None while there is none."""
    content = streams.read_file(engine, instance_id, RESULT)
    try:
        code, instance = (content or b"").decode().split()
        return int(code) if instance == instance_id else None  # an image made of an instance carries that one's
    except ValueError:
        return None


def run(engine: Engine, instance_id: str, data: bytes, on_status: Callable[[str], None]) -> None:
    """Start the script and return; a thread tells how it ended.

    Parameters
    ----------
    engine : Engine
    instance_id : str
    data : bytes
    on_status : callable
        Gets ``running`` at once and ``done`` or ``failed (exit N)`` at the end.

    Raises
    ------
    EngineError
        Where it can't be started.
    """
    prepare(engine, instance_id, data)
    exec_id: str | None = streams.exec_detached(engine, instance_id, ["/bin/sh", RUNNER, instance_id])
    if engine.podman:
        exec_id = None  # Podman 4.3 never tells the end of a command that it was not asked to follow; the file does
    on_status("running")
    threading.Thread(
        target=_follow, args=(engine, instance_id, exec_id, on_status), name=f"user-data-{instance_id}", daemon=True
    ).start()


def resume(engine: Engine, instance_id: str, on_status: Callable[[str], None]) -> None:
    """After a restart of the control plane: go on waiting for a script that was started before it."""
    threading.Thread(
        target=_follow, args=(engine, instance_id, None, on_status), name=f"user-data-{instance_id}", daemon=True
    ).start()


def _follow(engine: Engine, instance_id: str, exec_id: str | None, on_status: Callable[[str], None]) -> None:
    pause = 0.05
    while True:
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)
        try:
            code = streams.exec_exit_code(engine, exec_id) if exec_id else result(engine, instance_id)
            if code is None and not exec_id:
                container = containers.find(engine, instance_id)
                if container is None or not container.running:
                    code = result(engine, instance_id) if container else None
                    on_status(status(code) if code is not None else "failed (the instance stopped)")
                    return
        except EngineError as error:
            log.info("user data of %s: %s", instance_id, error)
            if exec_id is None:
                on_status("failed (the instance is gone)")
                return
            # The engine forgets a command with its container; the file still knows.
            exec_id = None
            continue
        if code is not None:
            on_status(status(code))
            return
