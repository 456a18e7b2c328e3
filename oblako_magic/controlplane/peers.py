"""Whose program is at the other end of a connection, where the system tells it (design, promise 3).

Linux knows the user of every socket of this host. The kernel is asked for one socket by its two ends, which costs
the same however many there are; where it does not answer that (gVisor, no ``tcp_diag``), its table of connections
is read.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_LISTENING = 10

INSTANCE = "instance"
"""The other end is behind the bridge, in a network namespace of its own."""
UNKNOWN = "unknown"
"""The other end is this host's and nobody has it any more, or it is on a network where no instance is."""

Peer = int | str
"""The user id of a local program, ``INSTANCE`` or ``UNKNOWN``."""


def available() -> bool:
    """Whether this system tells the user of a local connection."""
    return sys.platform == "linux" and _TABLES[0].exists()


def own_user() -> int:
    """Our user id; -1 where the system has no such thing."""
    return os.getuid() if hasattr(os, "getuid") else -1


def of(connection: socket.socket) -> Peer:
    """Whose the other end of an accepted IPv4 connection is.

    Parameters
    ----------
    connection : socket.socket
        As the server accepted it.

    Returns
    -------
    Peer
    """
    try:
        theirs, ours = connection.getpeername()[:2], connection.getsockname()[:2]
    except OSError:
        return UNKNOWN  # hung up already
    if not _is_own(theirs[0]):
        # Linux takes packets for the bridge's address from every network, the neighbours' included.
        return INSTANCE if _source_for(theirs[0]) == ours[0] else UNKNOWN
    try:
        found = _ask(theirs, ours)
    except OSError:
        found = _look_up(theirs, ours)
    return UNKNOWN if found is None else found


def _source_for(address: str) -> str:
    """The address that this host would speak from to reach another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((address, 9))
        return str(probe.getsockname()[0])
    return ""


def _is_own(address: str) -> bool:
    """Whether an address is one of this host's."""
    return address.startswith("127.") or _source_for(address) == address


def _ask(theirs: tuple[str, int], ours: tuple[str, int]) -> int | None:
    """Ask the kernel for the one socket with these ends; its user id, None where nobody has it.

    Raises
    ------
    OSError
        Where the kernel has no answer to such questions.
    """
    ends = struct.pack("!HH4s12x4s12x", theirs[1], ours[1], socket.inet_aton(theirs[0]), socket.inet_aton(ours[0]))
    question = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends
    question += struct.pack("=IQ", 0, 0xFFFFFFFFFFFFFFFF)  # any interface, any cookie
    head = struct.pack("=IHHII", 16 + len(question), _SOCK_DIAG_BY_FAMILY, 1, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:  # type: ignore[attr-defined,unused-ignore]
        kernel.settimeout(1)
        kernel.send(head + question)
        answer = kernel.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind != _SOCK_DIAG_BY_FAMILY:
        error = -struct.unpack_from("=i", answer, 16)[0]
        if error == 2:  # ENOENT: there is no such socket
            return None
        raise OSError(error, "the kernel does not tell of sockets")
    state = answer[17]
    far_port = struct.unpack_from("!H", answer, 22)[0]
    user, inode = struct.unpack_from("=II", answer, 80)
    if state == _LISTENING or far_port != ours[1]:
        return None  # the connection is gone and somebody listens on its port
    # A socket that its program has closed is told as root's.
    return user if inode else None


def _word(address: str) -> str:
    """An IPv4 address as the kernel's tables write it: in the host's byte order."""
    return f"{struct.unpack('=I', socket.inet_aton(address))[0]:08X}"


def _look_up(theirs: tuple[str, int], ours: tuple[str, int]) -> int | None:
    """The same from the tables, which list every socket of this host."""
    # In the second table as an IPv4-mapped address, for a client whose socket speaks both.
    mapped = f"0000000000000000{struct.unpack('=I', struct.pack('!I', 0xFFFF))[0]:08X}"
    for table, prefix in zip(_TABLES, ("", mapped), strict=True):
        wanted = [f"{prefix}{_word(host)}:{port:04X}" for host, port in (theirs, ours)]
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields: list[Any] = line.split()
                if fields[1:3] == wanted and len(fields) > 9:
                    return int(fields[7]) if int(fields[9]) else None
    return None
