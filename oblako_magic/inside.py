"""Commands, output, figures and files of instances: the part of ``Ec2`` that goes to the engine."""

from __future__ import annotations

import codecs
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import OblakoError, WaitError
from .handles import ExecResult, Instance, Stats, fill_extra
from .lifecycle import Lifecycle
from .model import ContainerState
from .settings import Settings

if TYPE_CHECKING:
    from .engine import Engine
    from .shells import Shell


class Inside(Lifecycle):
    """Work inside instances, and on their containers."""

    def __init__(self, settings: Settings | None = None, *, region: str | None = None) -> None:
        super().__init__(settings, region=region)
        self._prepared: set[str] = set()

    def _reachable(self, instance: Instance) -> Engine:
        """The engine, for work inside an instance that runs."""
        if not instance.backed:
            raise OblakoError(f"{instance.label} is simulated: it has no container to work in.")
        if instance.state != "running":
            instance.refresh()
        if instance.state != "running":
            hint = f"; start it with %ec2 start {instance.name or instance.id}" if instance.state == "stopped" else ""
            raise OblakoError(f"{instance.label} is {instance.state}{hint}.")
        if instance.impaired:
            raise OblakoError(f"{instance.label} is impaired: {instance.impairment}.")
        return self.engine()

    def _any_state(self, instance: Instance) -> Engine:
        if not instance.backed:
            raise OblakoError(f"{instance.label} is simulated: it has no files.")
        return self.engine()

    def exec(
        self,
        instance: Instance,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        env: dict[str, str] | None = None,
        workdir: str | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> ExecResult:
        """Run a command on an instance to its end.

        Parameters
        ----------
        instance : Instance
        command : str or sequence of str
            A str is a script: its shebang's interpreter runs it, else /bin/sh. A sequence is an argv.
        user, workdir : str, optional
            By default the image's own.
        env : dict of str to str, optional
            Further environment.
        timeout : float, optional
            Seconds; then the command is stopped.
        on_stdout, on_stderr : callable, optional
            Get the output in pieces while it comes; the result then holds the last MiB of each.
        interrupted : callable, optional
            Asked ten times a second from another thread; true stops the command.

        Returns
        -------
        ExecResult

        Raises
        ------
        OblakoError
            Where the instance does not run; WaitError where time ran out.
        KeyboardInterrupt
            The command is stopped first: TERM, and KILL after two seconds.
        """
        from . import remote
        from .guest import commands

        engine = self._reachable(instance)
        if instance.container_id not in self._prepared:
            self._prepared.add(instance.container_id)
            with contextlib.suppress(OblakoError):
                commands.prepare(engine, instance.id)
        return remote.execute(
            engine,
            instance,
            command,
            user=user,
            env=env,
            workdir=workdir,
            timeout=timeout,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            interrupted=interrupted,
        )

    def open_shell(self, instance: Instance, *, user: str = "", size: tuple[int, int] = (24, 80)) -> Shell:
        """Open a login shell on a terminal of its own, for a front end that shows it.

        Parameters
        ----------
        instance : Instance
        user : str
            By default the image's own.
        size : tuple of int
            Rows and columns.

        Returns
        -------
        oblako_magic.shells.Shell
            ``read``, ``write``, ``resize`` and ``close``.

        Raises
        ------
        OblakoError
            Where the instance does not run.
        """
        from .guest import commands
        from .shells import Shell

        engine = self._reachable(instance)
        with contextlib.suppress(OblakoError):
            commands.prepare(engine, instance.id)
        return Shell(self, engine, instance, user=user, size=size)

    def wait_user_data(
        self, instance: Instance, on_output: Callable[[str], None] | None = None, timeout: float | None = None
    ) -> Instance:
        """Wait until the user data script has ended.

        Parameters
        ----------
        instance : Instance
        on_output : callable, optional
            Gets its output while it comes.
        timeout : float, optional
            Seconds; none by default.

        Raises
        ------
        WaitError
            Where time runs out; a script that failed is no error here, ``user_data`` says it.
        """
        from .guest import user_data

        instance.refresh()
        end = None if timeout is None else time.monotonic() + timeout
        if on_output is not None and instance.user_data in ("waiting", "running"):
            follower = threading.Thread(
                target=self._follow_output, args=(instance, user_data.OUTPUT, on_output), daemon=True
            )
            follower.start()
        else:
            follower = None
        revision, _ = self._rows()
        while instance.user_data in ("waiting", "running") and instance.state in ("pending", "running"):
            if end is not None and time.monotonic() > end:
                raise WaitError.of(
                    f"the user data of {instance.label} did not end within {timeout:g} s; %ec2 console follows it.",
                    [instance],
                )
            revision, rows = self._rows(revision, 1.0)
            if instance.id in rows:
                fill_extra(instance, rows[instance.id])
        if follower is not None:
            follower.join(10)
        elif on_output is not None:
            from .engine import streams

            with contextlib.suppress(OblakoError):
                on_output(
                    (streams.read_file(self.engine(), instance.id, user_data.OUTPUT) or b"").decode(errors="replace")
                )
        return instance.refresh()

    def _follow_output(self, instance: Instance, path: str, on_output: Callable[[str], None]) -> None:
        from . import remote
        from .guest import user_data

        # Not tail -f, which looks once a second where it is busybox's. The end is looked for before the size, so
        # that the reader ends by itself and has read all of it.
        script = (
            "n=0; while :; do "
            # With its id: in an image made of an instance there is that one's result.
            f"over=; grep -qs ' {instance.id}$' {user_data.RESULT} && over=1; "
            f"size=$(cat {path} 2>/dev/null | wc -c); "
            f'if [ "$size" -gt $n ]; then tail -c +$((n + 1)) {path} | head -c $((size - n)); n=$size; fi; '
            '[ -n "$over" ] && exit 0; sleep 0.1; done'
        )
        with contextlib.suppress(OblakoError):
            remote.execute(
                self.engine(), instance, script, user="root", on_stdout=on_output, on_stderr=lambda text: None
            )

    def logs(
        self,
        instance: Instance,
        *,
        follow: bool = False,
        tail: int | None = None,
        on_output: Callable[[str], None] | None = None,
        on_open: Callable[[Any], None] | None = None,
    ) -> str:
        """What process 1 of the instance wrote.

        Parameters
        ----------
        instance : Instance
        follow : bool
            Go on until the instance stops (or KeyboardInterrupt).
        tail : int, optional
            The last lines only.
        on_output : callable, optional
            Gets it in pieces.
        on_open : callable, optional
            Gets the stream that is followed: ``close()`` of it, from another thread, ends the following.
        """
        from .engine import streams

        if not instance.backed:
            raise OblakoError(f"{instance.label} is simulated: it has no output.")
        if not follow:
            text = streams.logs(self.engine(), instance.id, tail=tail).decode(errors="replace")
            if on_output is not None:
                on_output(text)
            return text
        parts: list[str] = []
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in streams.follow_logs(self.engine(), instance.id, tail=tail, on_open=on_open):
            text = decoder.decode(piece)
            parts.append(text)
            del parts[:-10000]
            if on_output is not None:
                on_output(text)
        return "".join(parts)

    def console(self, instance: Instance) -> str:
        """The console's text (GetConsoleOutput): what process 1 and the user data wrote, its last 64 KiB."""
        import base64

        answer = self._aws("get_console_output", InstanceId=instance.id)
        text = str(answer.get("Output") or "")
        try:
            return base64.b64decode(text, validate=True).decode(errors="replace")
        except ValueError:  # botocore has decoded it
            return text

    def stats(self, instances: Sequence[Instance]) -> list[Stats]:
        """CPU, memory and network of instances that run, as now."""
        from concurrent.futures import ThreadPoolExecutor

        from . import remote

        running = [instance for instance in instances if instance.backed and instance.state == "running"]
        if not running:
            return []
        engine = self.engine()
        with ThreadPoolExecutor(min(16, len(running))) as pool:
            return list(pool.map(lambda instance: remote.stats(engine, instance), running))

    def copy(self, source: str, destination: str) -> int:
        """Copy a file or folder to or from an instance.

        Parameters
        ----------
        source, destination : str
            Exactly one of them is ``TARGET:/path``.

        Returns
        -------
        int
            Bytes of content.

        Raises
        ------
        OblakoError
        """
        from . import remote

        there, here = _split(source), _split(destination)
        if (there is None) == (here is None):
            raise OblakoError("copy wants exactly one TARGET:/path, such as: %ec2 cp notes.txt web:/tmp/")
        try:
            if there is not None:
                instance = self.find_one(there[0])
                return remote.download(self._any_state(instance), instance, there[1], Path(destination).expanduser())
            assert here is not None
            instance = self.find_one(here[0])
            return remote.upload(self._any_state(instance), Path(source).expanduser(), instance, here[1])
        except OSError as error:
            raise OblakoError(f"can't copy {source} to {destination}: {error.strerror or error}.") from error

    def instance_container(self, instance_id: str) -> ContainerState | None:
        """The container of an instance as the engine has it; None where there is none."""
        from .engine import containers

        return containers.find(self.engine(), instance_id)

    def list_instance_containers(self) -> list[ContainerState]:
        """The containers of all instances in the engine, whoever made them."""
        from .engine import containers

        return containers.all_containers(self.engine())

    def start_instance_container(
        self,
        instance_id: str,
        image_id: str | None = None,
        *,
        image: str | None = None,
        command: Sequence[str] | None = None,
        published_ports: Sequence[str | int] | dict[int, int] | None = None,
    ) -> ContainerState:
        """Make and start a container for an instance id, idempotently and without the control plane.

        Parameters
        ----------
        instance_id : str
            Any id; one that the control plane knows is better started with ``start_instance``.
        image_id : str, optional
            AMI id; a catalog AMI's image is taken where ``image`` is not given.
        image : str, optional
            The container image.
        command : sequence of str, optional
            In place of the image's own.
        published_ports : sequence of str or int, or dict of int to int, optional
            ``PORT`` or ``HOST_PORT:PORT`` each, or container port to host port; 0 chooses one.

        Returns
        -------
        ContainerState

        Raises
        ------
        EngineError
        """
        from . import standalone

        return standalone.start(self.engine(), self.settings, instance_id, image_id, image, command, published_ports)

    def terminate_instance_container(self, instance_id: str) -> None:
        """Remove the container of an instance id and its root volume; already gone is success."""
        from . import standalone

        standalone.terminate(self.engine(), instance_id)


def _split(text: str) -> tuple[str, str] | None:
    r"""``TARGET:/path``; a Windows drive (``C:\``) or a plain path is none."""
    target, colon, path = text.partition(":")
    if not colon or not path.startswith("/") or "/" in target or "\\" in target or not target:
        return None
    return target, path
