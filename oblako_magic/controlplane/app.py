"""The endpoint: guard, then moto; after a write save, then wake the loop, then answer."""

from __future__ import annotations

import io
import json
import logging
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

from cheroot.errors import MaxSizeExceeded
from moto.moto_server.werkzeug_app import (  # type: ignore[import-not-found]
    DomainDispatcherApplication,
    create_backend_app,
)

from ..errors import OblakoError
from . import faults, notebook_links, peers, semantics, stacks, undo
from .api import Api
from .faults import Refused
from .guard import PEER, Guard
from .intent import Intent
from .process import API, MAX_BODY
from .store import StateError, Store, count_backends

log = logging.getLogger(__name__)

_READS = re.compile(
    r"^(Describe|Get|List|Search|Lookup|Head|BatchGet|Query|Scan|Validate|Estimate|Preview|Simulate|Decode)"
)
StartResponse = Callable[..., Any]


def action_of(environ: dict[str, Any], body: bytes) -> str:
    """The API action of a request, by the query and the JSON protocols; empty for REST."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return str(target).rpartition(".")[2]
    for text in (body[:65536].decode("latin-1"), environ.get("QUERY_STRING", "")):
        match = re.search(r"(?:^|&)Action=(\w+)", text)
        if match:
            return match.group(1)
    return ""


def is_write(environ: dict[str, Any], action: str) -> bool:
    """Whether a request may change state. In doubt it does: saving once too often loses nothing."""
    if action:
        return not _READS.match(action)
    return environ.get("REQUEST_METHOD") not in {"GET", "HEAD", "OPTIONS"}


def _backend_app(service: str) -> Any:
    """Moto's application for a service, made at the first request for it."""
    app = create_backend_app(service)
    stacks.install_late(service)
    return app


class App:
    """The WSGI application.

    Parameters
    ----------
    lock : threading.RLock
        Moto is not made for many threads; one request at a time is let in.
    guard : Guard
    intent : Intent
    store : Store
    api : Api
        The control plane's own API.
    wake : callable
        Tells the loop to look at instances.
    reset : callable
        Terminates everything and waits; then moto may forget it.
    console : callable
        The console text of an instance.
    settle : callable or None
        Waits until the instances are at rest, where a write is to be answered only then.
    """

    def __init__(
        self,
        lock: Any,
        guard: Guard,
        intent: Intent,
        store: Store,
        api: Api,
        *,
        wake: Callable[[Iterable[str]], None],
        reset: Callable[[], None],
        console: Callable[[str], str],
        settle: Callable[[], None] | None = None,
    ) -> None:
        self._lock = lock
        self._guard = guard
        self._intent = intent
        self._store = store
        self._api = api
        self._wake = wake
        self._reset = reset
        self._console = console
        self._settle = settle
        self._moto = DomainDispatcherApplication(_backend_app)
        self._backends = 0
        store.restored = self._restored

    def _restored(self) -> None:
        self._backends = count_backends()
        self._intent.restored()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        try:
            # Before anything of a stranger's is read into memory.
            refusal = self._guard.stranger(environ)
            body = b"" if refusal else self._body(environ)
        except Refused as error:
            return self._error(environ, start_response, error.status, error.code, str(error))
        refusal = refusal or self._guard.refusal(environ, body)
        if refusal:
            log.warning(
                "refused %s %s from %s: %s",
                environ.get("REQUEST_METHOD"),
                environ.get("PATH_INFO"),
                environ.get("REMOTE_ADDR"),
                refusal,
            )
            return self._error(environ, start_response, "403 Forbidden", "AccessDenied", refusal)
        path = environ.get("PATH_INFO", "")
        if path.startswith(notebook_links.PATH):
            return self._open(path, environ, start_response)
        if path.startswith(API):
            status, answer = self._api.handle(
                environ["REQUEST_METHOD"],
                path[len(API) :],
                environ.get("QUERY_STRING", ""),
                body,
                self._intent.journal.who(environ),
                guest=environ.get(PEER) == peers.INSTANCE,
            )
            return _answer(start_response, status, "application/json", json.dumps(answer).encode())
        try:
            status, headers, chunks = self._serve(environ, body)
        except Refused as error:
            return self._error(environ, start_response, error.status, error.code, str(error))
        except StateError as error:
            log.error("%s", error)
            return self._error(environ, start_response, "503 Service Unavailable", "Unavailable", str(error))
        except OblakoError as error:
            return self._error(environ, start_response, "500 Internal Server Error", "InternalError", str(error))
        except Exception as error:
            log.exception("%s %s", environ.get("REQUEST_METHOD"), path)
            text = f"moto can't handle the request ({type(error).__name__}: {error})"
            return self._error(environ, start_response, "500 Internal Server Error", "InternalError", text)
        start_response(status, headers)
        return [chunks]

    def _open(self, path: str, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        """Lead a browser to a notebook instance, once for each link."""
        with self._lock:
            text, location = notebook_links.follow(path)
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        body = notebook_links.page(text)
        headers.append(("Content-Length", str(len(body))))
        if location:
            where = notebook_links.at_host(location, environ.get("HTTP_HOST", ""))
            start_response("302 Found", [*headers, ("Location", where)])
        else:
            start_response("403 Forbidden", headers)
        return [body]

    def warm_up(self) -> None:
        """Have moto load EC2 before the first call waits for it."""
        from werkzeug.test import EnvironBuilder

        headers = [("Authorization", "AWS4-HMAC-SHA256 Credential=test/20000101/us-east-1/ec2/aws4_request")]
        form = {"Action": "DescribeRegions", "Version": "2016-11-15"}
        with self._lock:
            self._ask_moto(EnvironBuilder("/", method="POST", data=form, headers=headers).get_environ())

    def _body(self, environ: dict[str, Any]) -> bytes:
        """Read the request's body, once, and put it back."""
        large = f"the request is larger than {MAX_BODY >> 20} MiB."
        try:
            if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
                length, body = -1, environ["wsgi.input"].read(MAX_BODY + 1)
            else:
                length = int(environ.get("CONTENT_LENGTH") or 0)
                if length > MAX_BODY:
                    raise Refused(large, "RequestEntityTooLarge", "413 Content Too Large")
                body = environ["wsgi.input"].read(length) if length > 0 else b""
        except OSError as error:
            if "Too Large" not in str(error):  # what the server raises for a chunk
                raise
            raise Refused(large, "RequestEntityTooLarge", "413 Content Too Large") from None
        except MaxSizeExceeded:
            raise Refused(large, "RequestEntityTooLarge", "413 Content Too Large") from None
        except Refused:
            raise
        except ValueError as error:
            raise Refused(f"the request's body can't be read ({error}).", "MalformedRequest") from error
        if len(body) > MAX_BODY:
            raise Refused(large, "RequestEntityTooLarge", "413 Content Too Large")
        if length > len(body):
            # A launch of which half was lost on the way must not be taken for a whole one.
            raise Refused(f"{length} bytes were announced and {len(body)} came.", "IncompleteBody")
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        return bytes(body)

    def _serve(self, environ: dict[str, Any], body: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
        action = action_of(environ, body)
        faults.check_text(environ, action, body)
        write = is_write(environ, action)
        if environ.get("PATH_INFO", "").startswith("/moto-api/reset") and environ.get("REQUEST_METHOD") == "POST":
            self._reset()
            write = True
        if action == "GetConsoleOutput":
            # The engine is asked before moto's lock is taken: it may be slow.
            fields = urllib.parse.parse_qs(body.decode("latin-1"))
            semantics.console_output.set(self._console((fields.get("InstanceId") or [""])[0]))
        changed: list[str] = []
        version = 0
        failure: Exception | None = None
        with self._lock:
            before = undo.mark(action)
            try:
                answer = self._ask_moto(environ)
                failure = faults.shapeless(environ, *answer)
            except Exception as error:
                answer, failure = ("500 Internal Server Error", [], b""), error
            if before is not None and not answer[0].startswith("2"):
                undo.launches(self._intent, before)
            backends = count_backends()
            # A first look at a region makes its default VPC, whose ids the answer may already carry.
            if write or backends != self._backends:
                self._backends = backends
                self._intent.mend()
                changed = self._intent.scan()
                self._tell(environ, action if write else "", body, answer, bool(changed))
                self._intent.touched()
                version = self._store.touch()
                self._intent.hold(changed, version)
        if version:
            self._store.commit(version)
            self._wake(changed)
        if changed and self._settle:
            self._settle()
        if failure is None:
            return answer[0], answer[1], faults.readable(answer[2])
        refused = faults.blame(environ, failure) if not isinstance(failure, (Refused, OblakoError)) else None
        if refused is None:
            raise failure
        # Moto's own crash over what the request says; whoever wonders about the answer finds it here.
        log.warning("%s %s: %s", environ.get("REQUEST_METHOD"), action, refused, exc_info=failure)
        raise refused

    def _tell(
        self, environ: dict[str, Any], action: str, body: bytes, answer: tuple[str, Any, bytes], changed: bool
    ) -> None:
        """Put what the request has done into the log of events; without an action, it has only read."""
        journal = self._intent.journal
        if not changed and not journal.minds(environ):
            return  # a program that fills a table must not have all instances looked at for each row
        with journal.caller(environ):
            news = self._intent.tell()
        if answer[0].startswith("2"):
            journal.call(environ, action, body, answer[2], news)

    def _ask_moto(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        captured: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            captured[:] = [status, headers]
            return lambda data: None

        result = self._moto.get_application(environ)(environ, start_response)
        try:
            data = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close:
                close()
        return captured[0], captured[1], data

    def _error(
        self, environ: dict[str, Any], start_response: StartResponse, status: str, code: str, text: str
    ) -> list[bytes]:
        """An error in the form of the protocol that was spoken, so that clients show its text."""
        return _answer(start_response, status, *faults.error_answer(environ, code, text))


def _answer(start_response: StartResponse, status: str, kind: str, data: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]
