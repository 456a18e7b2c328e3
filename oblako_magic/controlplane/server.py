"""The process: lock, log, state, loop and endpoint, put together and taken apart again."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import logging.handlers
import os
import secrets
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from cheroot import wsgi
from filelock import FileLock, Timeout

from .. import __version__, names
from ..engine import Engine, client, connect, containers, networks, streams
from ..errors import EngineError, OblakoError
from ..guest import notebook, user_data
from ..reconcile.loop import Loop
from ..reconcile.source import Observation
from ..settings import Settings
from . import peers, process
from .process import PROTOCOL, Runtime

log = logging.getLogger(__name__)

_THREADS = 48
"""Long polls of every open kernel and panel hold one each."""

_SETTLE = 60.0
"""Seconds that a write waits for its instances, with ``OBLAKO_EC2_SYNCHRONOUS``."""


class _Gateway(wsgi.Gateway_10):
    """Tells the application whose the other end of the connection is; asked once for each connection."""

    def get_environ(self) -> Any:
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        if peers.available():
            # Kept with the connection: ports are used again, a connection never is.
            connection = self.req.conn
            if not hasattr(connection, "oblako_peer"):
                connection.oblako_peer = peers.of(connection.socket)
            environ["oblako.peer"] = connection.oblako_peer
        return environ


class Server:
    """One control plane.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        # moto is imported here and not above: a second start that finds the lock held must end at once.
        # Moto answers every origin's preflight unless it is told not to.
        os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
        from . import lean

        lean.install()
        from . import intent, publishing, rules, store
        from .api import Api
        from .app import App
        from .guard import Guard
        from .notebook_watch import Watcher

        self._engine_size: tuple[float, int] | None = None
        rules.install(settings, lambda: self._engine_size)
        self._settings = settings
        self._engine_url = ""
        self._lock = threading.RLock()
        self._store = store.Store(settings.state_file, self._lock)
        self.control_plane = _identity(settings)
        self._intent = intent.Intent(settings, self._lock, self._store, self.control_plane, self._engine_expected)
        self._loop = Loop(
            self._intent,
            self._connect,
            run_user_data=self._run_user_data,
            before_start=self._before_start,
            workers=settings.workers,
            resync=settings.resync,
            pull_timeout=settings.pull_timeout,
        )
        self._loop.on_engine = self._on_engine
        self._intent.wake = self._loop.wake
        self._store.flushed = self._intent.flushed
        self._key = process.access_key(settings) if process.needs_key(settings) else ""
        known = peers.available() and not settings.allow_other_users
        self._guard = Guard(settings.allow_reset, peers.own_user() if known else None, self._key)
        self._stopping = threading.Event()
        self._publisher = publishing.Publisher(
            settings, self._lock, self._intent, self._store, self.control_plane, engine=self._loop.engine
        )
        self._api = Api(
            settings,
            self._lock,
            self._intent,
            self._store,
            self.control_plane,
            self._publisher,
            engine=self._loop.engine,
            wake=self._loop.wake,
            stop=self._stopping.set,
        )
        self.app = App(
            self._lock,
            self._guard,
            self._intent,
            self._store,
            self._api,
            wake=self._loop.wake,
            reset=self._terminate_all,
            console=self.console,
            settle=functools.partial(self._intent.settle, _SETTLE) if settings.synchronous else None,
        )
        self._notebooks = Watcher(
            settings, self._lock, self._intent, self._store, engine=self._loop.engine, wake=self._loop.wake
        )
        self._servers: list[Any] = []
        self._bridges: set[str] = set()
        self.port = 0
        self._listening = threading.Event()

    # -- life ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until ``stop`` or a signal."""
        self._load()
        port = self._listen_on_loopback()
        self._loop.start()
        self._publisher.start()
        self._notebooks.start()
        self._tell_where(Runtime(os.getpid(), port, __version__, PROTOCOL, key=self._key))
        log.info(
            "control plane %s listens on http://127.0.0.1:%d, state in %s",
            self.control_plane,
            port,
            self._settings.state_dir,
        )
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()
        self._resume_user_data()
        try:
            self._stopping.wait()
        finally:
            self.close()

    def _tell_where(self, runtime: Runtime) -> None:
        try:
            process.write_runtime(self._settings, runtime)
        except OblakoError as error:
            # On a full disk the file of one that was killed will do: it leads here, and who answers says who it is.
            old = process.read_runtime(self._settings)
            if old is None or (old.url, old.protocol) != (runtime.url, runtime.protocol):
                self.close()
                raise
            log.warning("%s", error)

    def _warm_up(self) -> None:
        self.app.warm_up()
        # What is there now stays as long as the process: the garbage collector need not look through it again.
        gc.freeze()
        gc.enable()

    def stop(self, *_: Any) -> None:
        """Make ``run`` return; fit for a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Take everything apart: no request is cut, what the loop has begun is finished, the state is saved."""
        log.info("going down; the instances keep running")
        self._notebooks.close()
        self._intent.close()
        for server in self._servers:
            server.stop()
        self._publisher.close()
        self._loop.stop()
        try:
            self._store.close()
        except OblakoError as error:
            log.error("%s", error)
        self._settings.runtime_file.unlink(missing_ok=True)

    # -- state --------------------------------------------------------------------------------------

    def _load(self) -> None:
        from .records import all_instances
        from .store import StateError

        with self._lock:
            try:
                known = self._store.load()
            except StateError as error:
                kept = self._store.set_aside()
                known = False
                self._notice(f"the saved state could not be read and is kept as {kept.name} ({error}).")
            if not known:
                self._rebuild()
                self._store.begin()
            self._intent.scan()
            self._intent.journal.begin(all_instances(forgotten=True))
            if any(True for _ in self._intent.instance_ids()):
                self._engine_url = self._last_engine()

    def _notice(self, text: str) -> None:
        log.warning("%s", text)
        self._api.notices.append(text)

    def _rebuild(self) -> None:
        """Without a state file the labels of our containers are what is left."""
        from .rebuild import rebuild

        try:
            engine = self._loop.engine()
            ours = [
                c
                for c in containers.all_containers(engine)
                if c.labels.get(names.LABEL_CONTROL_PLANE) == self.control_plane
            ]
        except EngineError as error:
            log.info("nothing to rebuild: %s", error)
            return
        rebuilt = []
        for listed in ours:
            try:
                container = containers.find(engine, listed.instance_id)
                if container is not None:
                    rebuilt.append(rebuild(container, engine.run).id)
            except Exception:
                log.exception("rebuilding %s", listed.instance_id)
        if rebuilt:
            count = f"{len(rebuilt)} instance{'s' if len(rebuilt) > 1 else ''}"
            self._notice(f"{count} rebuilt from the labels of their containers: {', '.join(rebuilt)}.")

    # -- endpoint -----------------------------------------------------------------------------------

    def _serve(self, address: str, port: int) -> Any:
        server: Any = wsgi.Server(
            (address, port), self.app, numthreads=_THREADS, request_queue_size=256, server_name="oblako"
        )
        server.gateway = _Gateway
        server.max_request_body_size = process.MAX_BODY
        server.error_log = _server_log
        server.prepare()
        threading.Thread(target=server.serve, name=f"http-{address}", daemon=True).start()
        self._servers.append(server)
        return server

    def _listen_on_loopback(self) -> int:
        port = process.planned_port(self._settings)
        try:
            self._serve("127.0.0.1", port)
        except OSError as error:
            if self._settings.port:
                raise OblakoError(f"port {port} (OBLAKO_PORT) is in use; free it or set another.") from error
            port = process.free_port()
            self._serve("127.0.0.1", port)
            process.remember_port(self._settings, port)
        self.port = port
        from .notebook_rules import endpoint

        endpoint.url = f"http://127.0.0.1:{port}"
        self._listening.set()
        return port

    def _connect(self) -> Engine:
        """The first engine that answers; from then on the same one, which has the containers, and no other."""
        if self._engine_url:
            return client.connect_url(self._engine_url, self._settings)
        engine = connect(self._settings)
        self._engine_url = engine.url
        with contextlib.suppress(OblakoError):  # a full disk is no reason to be without an engine
            process.write_private(self._settings.state_dir / "engine", engine.url)
        return engine

    def _last_engine(self) -> str:
        """The engine that has the containers, where nobody names one: not whichever answers first after a boot."""
        if self._settings.backend or os.environ.get("DOCKER_HOST") or os.environ.get("CONTAINER_HOST"):
            return ""
        with contextlib.suppress(OSError):
            return (self._settings.state_dir / "engine").read_text().strip()
        return ""

    def _on_engine(self, engine: Engine) -> None:
        """An engine answers: let instances reach the endpoint at the bridge's address."""
        log.info("engine: %s", engine.title)
        self._intent.journal.engine(engine.title)
        threading.Thread(target=self._listen_on_bridge, args=(engine,), name="bridge", daemon=True).start()

    def _listen_on_bridge(self, engine: Engine) -> None:
        with contextlib.suppress(EngineError):
            self._engine_size = engine.host
        try:
            addresses = [networks.gateway(engine), networks.closed_gateway(engine)]
        except EngineError as error:
            log.info("%s", error)
            return
        for address in filter(None, addresses):
            self._listen_at(address)

    def _listen_at(self, address: str) -> None:
        """Listen at a bridge's address, once."""
        if address in self._bridges:
            return
        self._bridges.add(address)
        self._guard.allow_hosts([address])
        # The engine may answer while the state is still loaded, before the endpoint has its port.
        self._listening.wait()
        while not self._stopping.is_set() and networks.is_local(address) is False:
            # Podman's bridge appears with its first container; an engine in a VM has its bridge elsewhere.
            if self._stopping.wait(2):
                return
        try:
            self._serve(address, self.port)
            log.info("instances reach the endpoint at http://%s:%d", names.HOST_ALIAS, self.port)
        except OSError as error:
            self._bridges.discard(address)
            log.warning(
                "instances can't reach the endpoint: %s:%d can't be listened on (%s)", address, self.port, error
            )

    # -- what the parts need of each other ----------------------------------------------------------

    def _engine_expected(self) -> bool:
        # Asked under moto's lock: nothing here may wait for an engine that does not answer.
        return self._loop.connected or client.installed(self._settings)

    def _run_user_data(self, engine: Engine, instance_id: str) -> None:
        instance = self._intent.get(instance_id)
        data = user_data.decode(instance.user_data) if instance is not None else b""
        try:
            user_data.run(engine, instance_id, data, functools.partial(self._user_data_status, instance_id))
        except EngineError as error:
            log.error("user data of %s: %s", instance_id, error)
            self._user_data_status(instance_id, f"failed ({error})")

    def _before_start(self, engine: Engine, instance_id: str) -> None:
        """Put into a notebook instance's container what it is to find."""
        from . import notebook_setup

        instance = self._intent.get(instance_id)
        if instance is None or str(instance.owner_id) != names.NOTEBOOK_ACCOUNT:
            return
        self._listening.wait()
        with self._lock:
            found = notebook_setup.of(instance, self._settings, self.port, self._key)
        if found is None:
            return
        setup, closed = found
        if closed:
            address = networks.closed_gateway(engine)
            if address and address not in self._bridges:
                threading.Thread(target=self._listen_at, args=(address,), name="bridge", daemon=True).start()
        notebook.prepare(engine, instance_id, replace(setup, user=containers.image_user(engine, instance_id)))

    def _user_data_status(self, instance_id: str, status: str) -> None:
        self._intent.report(instance_id, Observation(user_data=status))

    def _resume_user_data(self) -> None:
        try:
            engine = self._loop.engine()
        except EngineError:
            return
        for instance_id in self._intent.instance_ids():
            instance = self._intent.get(instance_id)
            if instance is not None and instance.oblako.user_data == "running":
                user_data.resume(engine, instance_id, functools.partial(self._user_data_status, instance_id))

    def console(self, instance_id: str) -> str:
        """What the instance has written to its console; empty where it has none."""
        with contextlib.suppress(EngineError):
            return streams.logs(self._loop.engine(), instance_id)[-65536:].decode(errors="replace")
        return ""

    def _terminate_all(self) -> None:
        """Before moto forgets its instances: take their containers away."""
        from . import groups
        from .records import all_instances

        with self._lock:
            groups.dissolve()
            for instance in list(all_instances(forgotten=True)):
                instance.disable_api_termination = False
                # Moto forgets every volume, so that none may be kept.
                for device in list(instance.block_device_mapping.values()):
                    device.delete_on_termination = True
                if instance.state not in ("terminated", "shutting-down"):
                    instance.terminate()
                kept = instance.ec2_backend.volumes.get(instance.oblako.root_volume_id)
                if instance.oblako.root_kept and kept is not None and not kept.attachment:
                    instance.ec2_backend.delete_volume(kept.id)
            changed = self._intent.scan()
            version = self._store.touch()
            self._intent.hold(changed, version)
        self._store.commit(version)
        self._loop.wake(changed)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with self._lock:
                everything = all_instances(forgotten=True)
                left = [i.id for i in everything if i.state != "terminated" or i.oblako.root_kept]
            if not left:
                return
            time.sleep(0.02)
        raise OblakoError(f"the reset was not done: {', '.join(left)} can't be removed; see {self._settings.log_file}")


def _server_log(msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
    log.log(level, "%s", msg, exc_info=traceback)


def _identity(settings: Settings) -> str:
    """The id of the state directory, on the labels of everything that this control plane makes."""
    path = settings.state_dir / "id"
    with contextlib.suppress(OSError):
        text = path.read_text().strip()
        if text:
            return text
    text = secrets.token_hex(8)
    process.write_private(path, text)
    return text


def _set_up_log(settings: Settings) -> None:
    handler = logging.handlers.RotatingFileHandler(settings.log_file, maxBytes=2 << 20, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for noisy in ("werkzeug", "botocore", "urllib3", "docker"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if os.name == "posix":
        os.umask(0o077)


def main() -> int:
    """Run the control plane; 0 at its end, or where another one lives already."""
    try:
        # This is one, whatever the environment says of another.
        settings = replace(Settings.from_env(), endpoint="")
        process.private_dir(settings.state_dir)
        if os.name == "posix":
            os.umask(0o077)
        lock = FileLock(settings.lock_file)
        try:
            # Not 0: whoever looks whether the lock is held holds it for a blink.
            lock.acquire(timeout=1)
        except Timeout:
            print("another control plane of this state directory lives; this one is not needed", file=sys.stderr)
            return 0
        _set_up_log(settings)
        gc.disable()  # until all is loaded
        server = Server(settings)
        signal.signal(signal.SIGTERM, server.stop)
        signal.signal(signal.SIGINT, server.stop)
        server.run()
        return 0
    except OblakoError as error:
        log.error("%s", error)
        print(error, file=sys.stderr)
        return 1
