"""The way to the control plane, to AWS's API there and to the engine; the base of ``Ec2``."""

from __future__ import annotations

import contextlib
import difflib
import os
import threading
from typing import TYPE_CHECKING, Any

from . import __version__, environment
from .controlplane import process
from .controlplane.process import Runtime
from .errors import AwsError, ControlPlaneError, ControlPlaneTimeout, EngineUnavailable, OblakoError
from .handles import Status
from .settings import Settings

if TYPE_CHECKING:
    from .engine import Engine

_ELSEWHERE = "with the control plane, not here"


class Connection:
    """Finds the control plane, starts it on first need, and speaks to it.

    Parameters
    ----------
    settings : Settings, optional
    region : str, optional
    """

    def __init__(self, settings: Settings | None = None, *, region: str | None = None) -> None:
        self.settings = settings if settings is not None else Settings.from_env()
        self._region = region
        self._lock = threading.RLock()
        self._runtime: Runtime | None = None
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._engine: Engine | None = None
        self.front_end = "python"
        """Which of our front ends calls, for the log of events; one of ``controlplane.events._PLACES``."""

    @property
    def agent(self) -> str:
        """What our calls say of themselves."""
        return f"oblako-magic/{__version__} {self.front_end}/{os.getpid()}"

    @property
    def endpoint_url(self) -> str:
        """Where AWS clients go; known before anything answers there."""
        with self._lock:
            return self._runtime.url if self._runtime else process.url(self.settings)

    @property
    def region(self) -> str:
        """The AWS region that calls go to."""
        if self._region is None:
            self._region = environment.region() or self._configured_region()
        return self._region

    def _configured_region(self) -> str:
        import botocore.session

        return str(botocore.session.get_session().get_config_variable("region") or environment.DEFAULT_REGION)

    def start(self, wait: bool = True) -> None:
        """Find the control plane or start it.

        Parameters
        ----------
        wait : bool
            False returns at once; the first call then waits for its answer.

        Raises
        ------
        ControlPlaneError
        """
        if wait:
            with self._lock:
                # Looked up afresh: the one that was there may have gone since.
                self._runtime = process.ensure(self.settings)
        elif not self.settings.endpoint and process.find(self.settings) is None and not process.locked(self.settings):
            process.start(self.settings)

    def stop(self) -> None:
        """Stop the control plane; the instances keep running and are there again after the next start."""
        process.stop(self.settings)
        self._forget()

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until the control plane answers.

        Raises
        ------
        ControlPlaneTimeout
        """
        with self._lock:
            self._runtime = process.wait(self.settings, timeout)

    def status(self) -> Status:
        """The control plane and the engine as they are; starts nothing."""
        state_dir, log_file = str(self.settings.state_dir), str(self.settings.log_file)
        runtime = process.find(self.settings)
        if self.settings.endpoint:
            version = runtime.version if runtime else ""
            return Status(runtime is not None, self.endpoint_url, version=version, engine=_ELSEWHERE)
        if runtime is None:
            return Status(False, self.endpoint_url, state_dir=state_dir, log_file=log_file)
        answer = process.call(runtime, "GET", "/status", timeout=30)
        return Status(
            True,
            runtime.url,
            runtime.pid,
            runtime.version,
            engine=answer["engine"],
            engine_error=answer["engine_error"],
            counts=answer["counts"],
            notices=answer["notices"],
            state_dir=state_dir,
            log_file=log_file,
        )

    def _connect(self) -> Runtime:
        with self._lock:
            if self._runtime is None:
                self._runtime = process.ensure(self.settings)
            return self._runtime

    def _forget(self) -> None:
        with self._lock:
            self._runtime, self._engine = None, None
            self._clients.clear()

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = 30
    ) -> dict[str, Any]:
        """Call the control plane's own API; one that has gone away is started again, once."""
        try:
            return process.call(self._connect(), method, path, body, timeout=timeout, agent=self.agent)
        except ControlPlaneTimeout:
            raise
        except ControlPlaneError:
            if process.find(self.settings) is not None:
                raise
        self._forget()
        return process.call(self._connect(), method, path, body, timeout=timeout, agent=self.agent)

    def _look(self, path: str, since: int | None, timeout: float) -> dict[str, Any]:
        """One of the control plane's lists; with a revision, wait so many seconds for a change since."""
        query = "" if since is None else f"?since={since}&timeout={timeout:g}"
        return self._call("GET", f"{path}{query}", timeout=timeout + 30)

    def get_client(self, service: str = "ec2", *, region: str | None = None) -> Any:
        """A boto3 client of the local endpoint.

        Parameters
        ----------
        service : str
            Such as ``ec2``, ``autoscaling`` or ``cloudformation``.
        region : str, optional

        Raises
        ------
        OblakoError
            Where boto3 knows no such service.
        """
        return self._client(self._connect().url, service, region or self.region)

    def _client(self, url: str, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, UnknownServiceError

        with self._lock:
            key = (url, service, region)
            if key not in self._clients:
                # Loopback: a proxy of the environment must not be asked, and a lost server is not a slow one.
                config = Config(
                    proxies={},
                    connect_timeout=5,
                    read_timeout=300,
                    retries={"total_max_attempts": 1},
                    user_agent_extra=self.agent,
                )
                try:
                    self._clients[key] = boto3.session.Session().client(
                        service,
                        endpoint_url=url,
                        region_name=region,
                        config=config,
                        **self._credentials(),
                    )
                except UnknownServiceError as error:  # its text lists all services, some four hundred
                    known = boto3.session.Session().get_available_services()
                    near = difflib.get_close_matches(service, known, n=3, cutoff=0.5)
                    hint = f"did you mean {' or '.join(near)}?" if near else "boto3's own names serve, such as ec2."
                    raise OblakoError(f"there is no AWS service client {service!r}; {hint}") from error
                except (BotoCoreError, ValueError) as error:
                    raise OblakoError(f"there is no AWS service client {service!r}: {error}") from error
            return self._clients[key]

    def _credentials(self) -> dict[str, str]:
        settings = self.settings
        if settings.endpoint and not settings.endpoint_key and environment.has_credentials(os.environ):
            return {}  # an instance's own, whichever way it has them: they say whose account it is in
        return {
            "aws_access_key_id": process.access_key(self.settings),
            "aws_secret_access_key": environment.TEST_KEY,
        }

    def _aws(self, operation: str, *, service: str = "ec2", **arguments: Any) -> dict[str, Any]:
        """One API call by its method's name; where the control plane has gone away it is started and asked again."""
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
        from botocore.parsers import ResponseParserError

        for attempt in (1, 2):
            client = self.get_client(service)
            try:
                return getattr(client, operation)(**arguments)  # type: ignore[no-any-return]
            except ClientError as error:
                raise _aws_error(error) from error
            except EndpointConnectionError as error:
                # Refused before anything was sent, so that asking again can't do a thing twice.
                if attempt == 2:
                    raise ControlPlaneError("the control plane does not answer; start it with: oblako up") from error
                self._forget()
            except (BotoCoreError, ResponseParserError) as error:  # the second: an answer that was cut in its middle
                raise AwsError(f"{error} ({operation})", operation=operation) from error
        raise AssertionError("unreachable")

    def environment(self) -> dict[str, str]:
        """What ``oblako env`` exports: endpoints, and test keys and a region only where none are configured."""
        return environment.variables(self.endpoint_url, key=process.access_key(self.settings))

    def engine(self) -> Engine:
        """The engine that the control plane uses; where none runs, the first that answers.

        Raises
        ------
        EngineUnavailable
        """
        if self.settings.endpoint:
            raise EngineUnavailable(
                f"this needs the container engine, which is not here but with the control plane "
                f"({self.settings.endpoint}); run it there, outside of the instance."
            )
        from . import engine

        with self._lock:
            if self._engine is None:
                url, problem = "", ""
                with contextlib.suppress(ControlPlaneError):
                    runtime = process.find(self.settings)
                    if runtime is not None:
                        answer = process.call(runtime, "GET", "/status", timeout=30)
                        url, problem = answer["engine_url"], answer["engine_error"]
                if problem:
                    raise EngineUnavailable(problem)
                self._engine = engine.connect_url(url, self.settings) if url else engine.connect(self.settings)
            return self._engine


def _aws_error(error: Any) -> AwsError:
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "")), str(details.get("Message", "")).strip()
    return AwsError(f"{code}: {message} ({error.operation_name})", code, error.operation_name)
