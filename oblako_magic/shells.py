"""Shells on instances: a login shell on a terminal of its own, for whoever shows it. Knows no front end."""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import TYPE_CHECKING

from .engine import Engine, streams, terminal
from .errors import EngineError, EngineUnavailable
from .handles import Instance

if TYPE_CHECKING:
    from .inside import Inside

_MARK = "OBLAKO_SHELL"
_LOGIN = """
export LANG="${LANG:-C.UTF-8}" TERM=xterm-256color
cd "$HOME" 2>/dev/null || cd /
bash=$(command -v bash) && exec "$bash" -l
exec /bin/sh -l
"""
# As when a terminal's line drops: HUP to the shell, which tells its jobs; what has a session of its own (nohup,
# setsid, a service) stays. The shell is the first session leader with the mark; fields 6 and 22 of stat are the
# session and the start, counted behind the name, which may have blanks.
_HANG_UP = f"""
first= at=
for p in /proc/[0-9]*; do
  tr '\\0' '\\n' < "$p/environ" 2>/dev/null | grep -qx "{_MARK}=$1" || continue
  line=$(cat "$p/stat" 2>/dev/null) || continue
  set -- "$1" ${{line##*) }}
  id=${{p#/proc/}}
  [ "$5" = "$id" ] || continue
  if [ -z "$at" ] || [ "${{21}}" -lt "$at" ]; then first=$id at=${{21}}; fi
done
[ -n "$first" ] || exit 3
kill -HUP "$first" 2>/dev/null; kill -CONT "$first" 2>/dev/null
n=0
while [ -d "/proc/$first" ] && [ $n -lt 20 ]; do n=$((n + 1)); sleep 0.1 2>/dev/null || sleep 1; done
[ -d "/proc/$first" ] && kill -KILL "$first" 2>/dev/null
exit 0
"""


class Shell:
    """One shell on an instance; ``read`` in one thread, ``write`` and ``resize`` in another.

    Parameters
    ----------
    ec2 : Inside
    engine : Engine
    instance : Instance
    user : str
        The image's own by default.
    size : tuple of int
        Rows and columns.

    Raises
    ------
    EngineError
        Where there is none to be had, as in an image without ``/bin/sh``.
    """

    def __init__(
        self, ec2: Inside, engine: Engine, instance: Instance, *, user: str = "", size: tuple[int, int] = (24, 80)
    ) -> None:
        self._ec2 = ec2
        self._engine = engine
        self._user = user
        self._token = secrets.token_hex(8)
        self._closing = threading.Lock()
        self._closed = False
        self.instance = instance
        self.terminal = terminal.Terminal(
            engine, instance.id, ["/bin/sh", "-c", _LOGIN], user=user, env={_MARK: self._token}, size=size
        )
        self.read = self.terminal.read
        self.write = self.terminal.write
        self.resize = self.terminal.resize

    def ending(self) -> str:
        """Why it has ended, in a sentence; to be asked once ``read`` has given nothing."""
        code: int | None = None
        with contextlib.suppress(EngineError):
            code = streams.exec_exit_code(self._engine, self.terminal.id)
        label = self.instance.label
        try:
            # The engine tells of the end before the control plane has written it down.
            state = self._ec2.refresh([self.instance])[0].state if self._runs() else "stopped"
        except EngineUnavailable:
            return f"The container engine has gone away; the shell on {label} has ended."
        except EngineError:
            return f"{label} is gone; the shell has ended."
        if state != "running":
            return f"{label} was stopped; the shell has ended."
        return f"The shell on {label} has ended" + (f" with exit code {code}." if code is not None else ".")

    def _runs(self) -> bool:
        from .engine import containers

        container = containers.find(self._engine, self.instance.id)
        return container is not None and container.running

    def close(self) -> None:
        """Hang up; a second time changes nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        # Root in a container may not read another account's environments: the shell's own looks first.
        for account in dict.fromkeys((self._user, "root")):
            with contextlib.suppress(EngineError):
                argv = ["/bin/sh", "-c", _HANG_UP, "sh", self._token]
                if streams.run(self._engine, self.instance.id, argv, user=account)[0] == 0:
                    break  # once: the next session with the mark would be one that shall stay
        self.terminal.close()
