"""What a notebook instance runs: a start script, its server's configuration, and what it leaves for us to read.

All of it is put into the container before each start. The script works with any image that has ``jupyter lab``; it
knows of no AWS, and what is to be done stands in the files beside it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import names
from ..engine import Engine, streams

FOLDER = "/opt/oblako"
COMMAND = ("/bin/sh", f"{FOLDER}/start-notebook")
"""Process 1 of a notebook instance."""
TOKEN = f"{FOLDER}/token"
HOOKS = ("OnCreate", "OnStart")
SECONDS = 300
"""How long a lifecycle script or the clone of a repository may take (SageMaker developer guide)."""
_PHASE = f"{FOLDER}/phase"
_FAILURE = f"{FOLDER}/failure"
_LOGS = "/var/log/oblako"


@dataclass(frozen=True)
class Setup:
    """What a notebook instance is to find when it starts.

    Parameters
    ----------
    token : str
        Of its server.
    environment : mapping of str to str
        For lifecycle scripts and the server.
    hooks : mapping of str to bytes
        Lifecycle scripts to run, by ``OnCreate`` and ``OnStart``.
    repositories : tuple of (str, str)
        Git URLs and branches; no branch is the repository's own choice.
    root_access : bool
        Whether the notebook's user may become root.
    user : str
        The image's own user, for images without ``ec2-user``.
    any_host : bool
        Whether the server answers to other names than this machine's own loopback.
    seconds : int
        The limit of each lifecycle script.
    """

    token: str
    environment: Mapping[str, str] = field(default_factory=dict)
    hooks: Mapping[str, bytes] = field(default_factory=dict)
    repositories: tuple[tuple[str, str], ...] = ()
    root_access: bool = True
    user: str = ""
    any_host: bool = False
    seconds: int = SECONDS


_START = r"""#!/bin/sh
# Made by oblako_magic: starts the server of a notebook instance.
umask 022
cd /
dir=/opt/oblako
logs=/var/log/oblako
[ ! -e $dir/failure ] || rm -f $dir/failure
[ -d $logs ] || mkdir -p $logs
phase() { echo "$1" > $dir/phase; }
fail() { echo "$1" > $dir/failure; echo "$2" >&2; exit 78; }
. $dir/settings

# Each program that is started is a millisecond of every start: what the shell can do itself, it does.
# Who works in it: ec2-user, or whoever the image means.
known() {
  while IFS=: read -r user _ uid gid _ home _; do
    case $1 in
      "$user" | "$uid") return 0 ;;
    esac
  done < /etc/passwd
  return 1
}
for one in ec2-user "${IMAGE_USER%%:*}" "${NB_USER:-}" root; do
  if [ -n "$one" ] && known "$one"; then break; fi
done
export USER="$user" LOGNAME="$user"
if setpriv --reuid="$uid" --regid="$gid" --init-groups true 2>/dev/null; then
  as_user() { $run setpriv --reuid="$uid" --regid="$gid" --init-groups "$@"; }
else
  as_user() {
    $run python3 -c 'import os, pwd, sys
p = pwd.getpwnam(sys.argv[1])
os.initgroups(p.pw_name, p.pw_gid); os.setgid(p.pw_gid); os.setuid(p.pw_uid)
os.execvp(sys.argv[2], sys.argv[2:])' "$user" "$@"
  }
fi
run=
chown "$uid:$gid" $dir/token $dir/env
[ "$(stat -c %u "$WORK" 2>/dev/null)" = "$uid" ] || chown "$uid:$gid" "$WORK"
if [ "$home" = /home/ec2-user ] || [ ! -e /home/ec2-user ]; then :; else chmod 0755 /home/ec2-user; fi

sudoers=/etc/sudoers.d
[ ! -e $sudoers/90-ec2-user ] || rm -f $sudoers/90-ec2-user
if [ "$ROOT_ACCESS" != 1 ]; then
  rm -f $sudoers/99-oblako-notebook
elif [ -d $sudoers ] && [ ! -e $sudoers/99-oblako-notebook ]; then
  (umask 0337; echo "$user ALL=(ALL) NOPASSWD:ALL" > $sudoers/99-oblako-notebook)
fi

. $dir/env

run_hook() {
  [ ! -e "$logs/$1.log" ] || rm -f "$logs/$1.log"
  [ -s "$dir/$1" ] || return 0
  [ "$1" = OnCreate ] && [ -e $dir/created ] && return 0
  phase "running the lifecycle script $1"
  limit=
  command -v timeout >/dev/null && limit="timeout -k 5 $SECONDS_EACH"
  (HOME=/root; export HOME; cd /; exec $limit "$dir/$1") > "$logs/$1.log" 2>&1 < /dev/null
  code=$?
  case $code in
    0) ;;
    124 | 137) fail "$1 time" "the lifecycle script $1 took more than $SECONDS_EACH seconds" ;;
    *) fail "$1 $code" "the lifecycle script $1 ended with exit code $code" ;;
  esac
}
run_hook OnCreate
: > $dir/created
run_hook OnStart

export HOME="$home"
while read -r url branch; do
  [ -n "$url" ] || continue
  name=${url##*/}
  name=${name%.git}
  [ -e "$WORK/$name" ] && continue
  phase "cloning $url"
  command -v git >/dev/null || fail "clone $url" "this image has no git"
  limit=
  command -v timeout >/dev/null && limit="timeout -k 5 $SECONDS_EACH"
  cd "$WORK" || exit 78
  export GIT_TERMINAL_PROMPT=0
  as_user $limit git clone --quiet ${branch:+--branch "$branch"} -- "$url" "$name" > $logs/clone.log 2>&1 < /dev/null ||
    fail "clone $url" "$(tail -n 3 $logs/clone.log)"
  cd /
done < $dir/repositories

phase "starting JupyterLab"
cd "$home" 2>/dev/null || cd /
export JUPYTER_CONFIG_PATH="$dir/jupyter${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
command -v jupyter >/dev/null || fail "image" "this image has no jupyter"
# By its own name where it has one: the other is a program more, which has to be loaded first.
if command -v jupyter-lab >/dev/null; then set -- jupyter-lab; else set -- jupyter lab; fi
run=exec
as_user "$@" --no-browser
"""

_CONFIG = """# Made by oblako_magic at each start.
import jupyter_server

c = get_config()  # noqa
with open("{token}") as file:
    _token = file.read().strip()
if jupyter_server.version_info < (2,):
    c.ServerApp.token = _token
else:
    c.IdentityProvider.token = _token
c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = {port}
c.ServerApp.port_retries = 0
c.ServerApp.base_url = "/"
c.ServerApp.root_dir = "{root}"
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.allow_remote_access = {any_host}
c.ServerApp.disable_check_xsrf = False
# A notebook of this machine may show the lab in a frame (%ec2 notebook open --embed); no other site may.
c.ServerApp.tornado_settings = {{
    "headers": {{"Content-Security-Policy": "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"}}
}}
"""


def files(setup: Setup) -> list[tuple[str, bytes, int]]:
    """What is put into the container before a start: (path, content, mode)."""
    settings = {
        "WORK": names.NOTEBOOK_MOUNT,
        "IMAGE_USER": setup.user,
        "ROOT_ACCESS": "1" if setup.root_access else "0",
        "SECONDS_EACH": str(setup.seconds),
    }
    config = _CONFIG.format(
        token=TOKEN, port=names.NOTEBOOK_PORT, root=names.NOTEBOOK_MOUNT, any_host=repr(setup.any_host)
    )
    found = [
        (COMMAND[1], _START.encode(), 0o755),
        (f"{FOLDER}/settings", _assignments(settings).encode(), 0o644),
        (f"{FOLDER}/env", _assignments(setup.environment, "export ").encode(), 0o600),
        (TOKEN, setup.token.encode(), 0o600),
        (f"{FOLDER}/repositories", "".join(f"{url} {branch}\n" for url, branch in setup.repositories).encode(), 0o644),
        (f"{FOLDER}/jupyter/jupyter_server_config.py", config.encode(), 0o644),
        (_PHASE, b"starting\n", 0o644),
    ]
    for hook in HOOKS:
        text = setup.hooks.get(hook, b"")
        # What names no interpreter is the shell's. An empty file is no script: nothing can be taken away here.
        script = text if text.startswith(b"#!") or not text else b"#!/bin/sh\n" + text
        found.append((f"{FOLDER}/{hook}", script, 0o700))
    return found


def _assignments(values: Mapping[str, str], prefix: str = "") -> str:
    return "".join(f"{prefix}{key}={shlex.quote(value)}\n" for key, value in values.items())


def prepare(engine: Engine, instance_id: str, setup: Setup) -> None:
    """Put everything in place; the container must not run yet.

    Raises
    ------
    EngineError
    """
    streams.put_files(engine, instance_id, files(setup))


def phase(engine: Engine, instance_id: str) -> str:
    """What the start script is at; empty where it has said nothing."""
    return (streams.read_file(engine, instance_id, _PHASE) or b"").decode(errors="replace").strip()


@dataclass(frozen=True)
class Failure:
    """Why the start script gave up.

    Parameters
    ----------
    what : str
        ``OnCreate``, ``OnStart``, ``clone`` or ``image``.
    detail : str
        Of a hook its exit code, or ``time``; of a clone the URL.
    """

    what: str
    detail: str


def failure(engine: Engine, instance_id: str) -> Failure | None:
    """Why the start script gave up; None where it did not."""
    text = (streams.read_file(engine, instance_id, _FAILURE) or b"").decode(errors="replace").strip()
    what, _, detail = text.partition(" ")
    return Failure(what, detail) if what else None


def hook_log(engine: Engine, instance_id: str, hook: str) -> str | None:
    """The output of a lifecycle script; None where it did not run."""
    data = streams.read_file(engine, instance_id, f"{_LOGS}/{hook}.log")
    return None if data is None else data.decode(errors="replace")


def token(engine: Engine, instance_id: str) -> str:
    """The token of its server, as it was put there; empty where none was."""
    return (streams.read_file(engine, instance_id, TOKEN) or b"").decode(errors="replace").strip()


def environment(engine: Engine, instance_id: str) -> dict[str, str]:
    """The variables that its server and kernels have from us; none where there are none."""
    text = (streams.read_file(engine, instance_id, f"{FOLDER}/env") or b"").decode(errors="replace")
    pairs = (word.partition("=") for word in shlex.split(text) if "=" in word)
    return {key: value for key, _, value in pairs}


def valid_environment(text: str) -> dict[str, str]:
    """Read the JSON object of a tag.

    Raises
    ------
    ValueError
        With a sentence for the user.
    """
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(str(key).isidentifier() and str(key).isascii() for key in values):
        raise ValueError(f'the tag {names.TAG_ENV} is no JSON object of variables, such as {{"STAGE": "test"}}.')
    return {str(key): str(value) for key, value in values.items()}
