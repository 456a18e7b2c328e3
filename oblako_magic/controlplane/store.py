"""Durable state: all of moto's backends in one file, written whole before an answer goes out.

One pickle, because the services hold each other's objects: a stack its instances, a group its members.
The built-in AMIs, nine tenths of it, are left out and come back with moto.
"""

from __future__ import annotations

import copy
import copyreg
import hashlib
import importlib
import io
import json
import logging
import operator
import os
import pickle
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.core.base_backend import BackendDict, BaseBackend
from moto.ec2.models import EC2Backend
from moto.ssm.models import ParameterDict

from ..errors import OblakoError

log = logging.getLogger(__name__)

MAGIC = b"OBLAKO-STATE "
FORMAT = 1
_NOT_SAVED = {"moto_api", "instance_metadata", "motoapi"}
_WITH_KEYS = {"kms", "acm", "acm-pca"}
"""Services whose records hold private keys or certificates as objects."""
_PRISTINE = "_oblako_pristine"
"""Attribute of an EC2 backend: the built-in AMIs and snapshots as moto made them, by id."""


class StateError(OblakoError):
    """The state file can't be read, or not be written."""


def _backend_dict(backend: BaseBackend) -> tuple[str, str]:
    """(module, variable) of the dictionary that a backend lives in."""
    module = f"moto.{type(backend).__module__.split('.')[1]}.models"
    for name, value in vars(importlib.import_module(module)).items():
        if isinstance(value, BackendDict) and value.backend is type(backend):
            return module, name
    raise pickle.PicklingError(f"no dictionary of {type(backend).__name__} in {module}")


def _live_backend(module: str, variable: str, account: str, region: str) -> Any:
    return getattr(importlib.import_module(module), variable)[account][region]


class _Items(dict[Any, Any]):
    """The content of a defaultdict whose factory can't be saved; the fresh backend has the factory."""


def _fill(backend: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        current = getattr(backend, name, None)
        if isinstance(value, _Items) and isinstance(current, defaultdict):
            current.clear()
            current.update(value)
        else:
            setattr(backend, name, value)


def _reduce_backend(backend: Any) -> tuple[Any, ...]:
    state = {}
    for name, value in vars(backend).items():
        factory = value.default_factory if type(value) is defaultdict else None
        state[name] = _Items(value) if factory is not None and "<" in getattr(factory, "__qualname__", "") else value
    return (_live_backend, (*_backend_dict(backend), backend.account_id, backend.region_name), state, None, None, _fill)


_looks = operator.attrgetter("name", "description", "state", "image_location", "launch_permissions")
"""What a client can change of an AMI; asked of all 1,300 at every save."""


def _mark(ami: Any) -> tuple[Any, ...]:
    """How an AMI looks now, to compare ``_looks`` with later."""
    return copy.deepcopy(_looks(ami))


def remember_pristine(backend: Any) -> None:
    """Note which AMIs and snapshots of a fresh EC2 backend are moto's own."""
    amis = {ami.id: (ami, _mark(ami)) for ami in backend.amis.values()}
    snapshots = {ami.ebs_snapshot.id: ami.ebs_snapshot for ami in backend.amis.values()}
    backend.__dict__[_PRISTINE] = (amis, snapshots)


def _reduce_ec2(backend: Any) -> tuple[Any, ...]:
    amis, snapshots = backend.__dict__.get(_PRISTINE, ({}, {}))
    state = {name: value for name, value in vars(backend).items() if name != _PRISTINE}
    # The snapshots' ids are random; kept, they are the same after a restart.
    builtin = {
        key: ami.ebs_snapshot.id
        for key, (ami, mark) in amis.items()
        if backend.amis.get(key) is ami and _looks(ami) == mark
    }
    state["amis"] = {key: ami for key, ami in backend.amis.items() if key not in builtin}
    kept = set(builtin.values())
    state["snapshots"] = {
        key: snap for key, snap in backend.snapshots.items() if not (key in kept and snapshots.get(key) is snap)
    }
    state["_oblako_builtin"] = builtin
    return (
        _live_backend,
        (*_backend_dict(backend), backend.account_id, backend.region_name),
        state,
        None,
        None,
        _fill_ec2,
    )


def _fill_ec2(backend: Any, state: dict[str, Any]) -> None:
    builtin: dict[str, str] = state.pop("_oblako_builtin")
    fresh = {key: ami for key, ami in backend.amis.items() if key in builtin}
    snapshots = {}
    for key, ami in fresh.items():
        ami.ebs_snapshot.id = builtin[key]
        snapshots[builtin[key]] = ami.ebs_snapshot
    vars(backend).update(state)
    backend.amis = {**fresh, **state["amis"]}
    # In place where it can be: moto's own type has listeners of its own in some versions.
    backend.snapshots = {**snapshots, **state["snapshots"]}
    marks = {key: (ami, _mark(ami)) for key, ami in fresh.items()}
    backend.__dict__[_PRISTINE] = (marks, snapshots)


def _reduce_parameters(parameters: Any) -> tuple[Any, ...]:
    return (
        ParameterDict,
        (parameters.account_id, parameters.region_name),
        vars(parameters),
        None,
        iter(parameters.items()),
    )


def _reduce_lock(lock: Any) -> tuple[Any, ...]:
    return (threading.RLock if type(lock) is type(threading.RLock()) else threading.Lock, ())


_TABLE: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    EC2Backend: _reduce_ec2,
    ParameterDict: _reduce_parameters,
    type(threading.Lock()): _reduce_lock,
    type(threading.RLock()): _reduce_lock,
}


def _backend_dicts() -> list[Any]:
    """The backend dictionaries of all services that are in use."""
    return list(BackendDict._instances)  # type: ignore[misc]


def count_backends() -> int:
    """How many backends there are, over all services, accounts and regions."""
    return sum(len(dict.keys(accounts)) for backends in _backend_dicts() for accounts in dict.values(backends))


class Store:
    """The state file.

    Parameters
    ----------
    path : Path
    lock : threading.RLock
        Moto's: held while the state is read out of memory.
    """

    def __init__(self, path: Path, lock: Any) -> None:
        self.path = path
        self._moto = lock
        self._writing = threading.Lock()
        self._version = 0
        self._saved = 0
        self._last: bytes | None = None
        self._lost: list[tuple[int, int, str]] = []
        self.restored: Callable[[], None] = lambda: None
        """Called with moto's lock held when what could not be saved has been taken back."""
        self.flushed: Callable[[], None] = lambda: None
        """Called when a change that nobody waited for is on disk."""
        self._unsaveable: set[str] = set()
        self._flush = threading.Event()
        self._closed = False
        self._flusher = threading.Thread(target=self._flush_later, name="store", daemon=True)
        self._flusher.start()

    # -- saving -------------------------------------------------------------------------------------

    def touch(self) -> int:
        """Note that the state has changed; the number to ``commit``. Call with moto's lock held."""
        self._version += 1
        return self._version

    def touch_later(self) -> int:
        """The same for a change that nobody waits for; it is saved within a moment."""
        version = self.touch()
        self._flush.set()
        return version

    def saved(self, version: int) -> bool:
        """Whether the state as of ``version`` is on disk."""
        return self._saved >= version

    def commit(self, version: int) -> None:
        """Return when the state as of ``version`` is on disk. One write serves all who wait.

        Raises
        ------
        StateError
            Where it can't be written: then memory is again what is on disk, and no change since has been made.
        """
        if self._saved >= version and not self._lost:
            return
        with self._writing:
            for low, high, text in self._lost:
                if low < version <= high:
                    raise StateError(text)
            if self._saved >= version:
                return
            try:
                self._save()
            except StateError as error:
                self._take_back(str(error))
                raise

    def _save(self) -> None:
        with self._moto:
            current = self._version
            data = self._dump()
        try:
            self._write(data)
        except OSError as error:
            raise StateError(
                f"the state can't be saved to {self.path} ({error.strerror}), so nothing was changed; free some space."
            ) from error
        self._saved, self._last = current, data

    def _take_back(self, text: str) -> None:
        """A change that was refused must not stay in memory, where everybody would see it and the next save keep it."""
        with self._moto:
            low, high = self._saved, self._version
            try:
                self._restore()
                self.restored()
            except Exception:
                # Half of it would be worse than none: the next start reads what is on disk.
                log.critical("the state can't be taken back to what was saved last; ending", exc_info=True)
                os._exit(1)
            if self._lost and self._lost[-1][1] == low:
                low = self._lost.pop()[0]
            self._lost.append((low, high, text))
            self._saved = high
            self.touch_later()  # what the loop has seen, and is kept, is still to be saved

    def _restore(self) -> None:
        for backends in _backend_dicts():
            if backends.service_name not in _NOT_SAVED | self._unsaveable:
                dict.clear(backends)
        if self._last is not None:
            pickle.loads(self._last)

    def _flush_later(self) -> None:
        while not self._closed:
            self._flush.wait()
            time.sleep(0.05)  # what else changes meanwhile goes along
            self._flush.clear()
            try:
                self._save_now()
                self.flushed()
            except StateError as error:
                # What the loop has seen is true all the same; it is not taken back, and saved when that is possible.
                log.error("%s", error)
                time.sleep(1)
                self._flush.set()
            except Exception:
                log.exception("saving the state")

    def _save_now(self) -> None:
        with self._writing:
            if self._saved < self._version:
                self._save()

    def close(self) -> None:
        """Save what is not saved yet and stop."""
        self._closed = True
        self._flush.set()
        self._save_now()

    def _services(self) -> dict[str, dict[str, dict[str, Any]]]:
        services: dict[str, dict[str, dict[str, Any]]] = {}
        for backends in _backend_dicts():
            if backends.service_name in _NOT_SAVED | self._unsaveable:
                continue
            services[backends.service_name] = {
                account: dict(dict.items(accounts)) for account, accounts in dict.items(backends)
            }
        return services

    def _dump(self) -> bytes:
        services = self._services()
        try:
            return _dumps(services)
        except Exception as error:
            # A service that can't be saved must not take the others along: find it, say so, go on without.
            for name, accounts in services.items():
                try:
                    _dumps(accounts)
                except Exception as culprit:
                    if name == "ec2":
                        raise StateError(f"the state can't be saved: {error}") from error
                    log.error("the state of %s is not saved, it can't be: %s", name, culprit)
                    self._unsaveable.add(name)
            if not self._unsaveable & set(services):
                raise StateError(f"the state can't be saved: {error}") from error
            return _dumps(self._services())

    def _write(self, data: bytes) -> None:
        from moto import __version__ as moto_version

        from .. import __version__

        header = {
            "format": FORMAT,
            "version": __version__,
            "moto": moto_version,
            "python": list(sys.version_info[:2]),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }
        new = self.path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(MAGIC + json.dumps(header).encode() + b"\n")
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    # -- loading ------------------------------------------------------------------------------------

    def load(self) -> bool:
        """Fill moto from the file.

        Returns
        -------
        bool
            False where there is no file.

        Raises
        ------
        StateError
            Where it can't be read; moto is empty then.
        """
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StateError(f"{self.path} can't be read ({error.strerror})") from error
        head, _, data = raw.partition(b"\n")
        try:
            if not head.startswith(MAGIC):
                raise ValueError("it is no state file")
            header = json.loads(head[len(MAGIC) :])
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']}, not {FORMAT}")
            if hashlib.sha256(data).hexdigest() != header["sha256"]:
                raise ValueError("it is damaged")
            pickle.loads(data)
            self._last = data
        except Exception as error:
            BackendDict.reset()
            raise StateError(f"{self.path} can't be read: {error}") from error
        return True

    def begin(self) -> None:
        """Take what is in memory as saved: a start without a file. Call with moto's lock held."""
        self._last = self._dump()

    def set_aside(self) -> Path:
        """Keep a file that can't be read under another name."""
        kept = self.path.with_name(f"{self.path.name}.unreadable-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.rename(kept)
        return kept


def _dumps(services: Any) -> bytes:
    table: dict[type, Callable[[Any], Any]] = dict(copyreg.dispatch_table)
    table.update(_TABLE)
    if _WITH_KEYS & {backends.service_name for backends in _backend_dicts()}:
        from .keys import reducers

        table.update(reducers())
    for backends in _backend_dicts():
        for accounts in dict.values(backends):
            for backend in dict.values(accounts):
                table.setdefault(type(backend), _reduce_backend)
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    pickler.dispatch_table = table
    pickler.dump(services)
    return buffer.getvalue()
