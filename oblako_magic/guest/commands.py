"""The commands that a machine has and a container lacks: poweroff, halt, shutdown, reboot."""

from __future__ import annotations

from ..engine import Engine, streams

_POWEROFF = b"""#!/bin/sh
# Made by oblako_magic: ends process 1, with which the instance stops (or terminates, by its shutdown behaviour).
exec kill -TERM 1
"""
_SHUTDOWN = b"""#!/bin/sh
# Made by oblako_magic: shutdown -h now; the times and messages of the real one are not kept.
case " $* " in *" -c "*) exit 0 ;; esac
exec kill -TERM 1
"""


def prepare(engine: Engine, instance_id: str) -> None:
    """Put the commands into /usr/local/sbin of an instance whose image has no init system of its own."""
    streams.put_files(
        engine,
        instance_id,
        [
            ("usr/local/sbin/poweroff", _POWEROFF, 0o755),
            ("usr/local/sbin/halt", _POWEROFF, 0o755),
            ("usr/local/sbin/shutdown", _SHUTDOWN, 0o755),
        ],
    )
