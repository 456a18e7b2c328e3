"""Whose fault it is that a request failed, and the error in the form of the protocol that was spoken.

Pure; no I/O. The one rule: what Python raises over data (a missing key, a wrong type, a value that can't be read)
while moto works on a request is the request's fault, because moto looks at nothing else then. It is answered as a
client's error, since asking again can't help; its traceback goes to the log. All else is ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

import jinja2
from botocore.model import OperationNotFoundError

from .process import API

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]*/([^/]+)/aws4_request")
_OF_DATA = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, AssertionError,
    UnboundLocalError, jinja2.TemplateError,
)  # fmt: skip
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r")
_REPAIR = bytes.maketrans(_CONTROL, b"?" * len(_CONTROL))
_FILTER = re.compile(r"(?:not been implemented in Moto for|^The filter) '([^']+)'")
"""What moto says of a filter's name that it doesn't know, in its two ways."""
_BAD = "400 Bad Request"


class Refused(ValueError):
    """A request that is not even handed to moto.

    Parameters
    ----------
    text : str
    code : str
        AWS's.
    status : str
    """

    def __init__(self, text: str, code: str = "InvalidParameterValue", status: str = _BAD) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


def service_of(environ: Mapping[str, Any]) -> str:
    """The service that a request is signed for."""
    match = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    return match.group(1).lower() if match else ""


def _speaks_json(environ: Mapping[str, Any]) -> bool:
    return bool(environ.get("HTTP_X_AMZ_TARGET")) or environ.get("PATH_INFO", "").startswith(API)


def check_text(environ: Mapping[str, Any], action: str, body: bytes) -> None:
    """Refuse what no XML answer could ever show: kept in a tag, it would break every later description.

    Raises
    ------
    Refused
    """
    if not action or environ.get("HTTP_X_AMZ_TARGET"):
        return
    given = unquote_to_bytes(body + b"&" + str(environ.get("QUERY_STRING", "")).encode("latin-1", "replace"))
    try:
        bad = _NOT_XML.search(given.decode())
    except UnicodeDecodeError:
        raise Refused("the request is not encoded as UTF-8.", "MalformedQueryString") from None
    if bad:
        raise Refused(f"the request contains the character U+{ord(bad.group()):04X}, which is not allowed.")


def blame(environ: Mapping[str, Any], error: Exception) -> Refused | None:
    """The client's error for what moto raised; None where it is no fault of the request's."""
    if isinstance(error, OperationNotFoundError):
        return Refused("the request names no action that there is.", "InvalidAction")
    if isinstance(error, NotImplementedError) and (unknown := _FILTER.search(str(error))):
        return Refused(f"The filter '{unknown.group(1)}' is invalid, or not known to moto")
    if isinstance(error, NotImplementedError):
        return Refused(str(error) or "the action is not implemented by moto.", "InvalidAction")
    if not isinstance(error, _OF_DATA):
        return None
    code = "ValidationException" if _speaks_json(environ) else "InvalidParameterValue"
    if isinstance(error, json.JSONDecodeError) and service_of(environ) == "cloudformation":
        # A stack policy apart, it is the template: moto takes what is no YAML for JSON.
        return Refused("Template format error: YAML or JSON not well-formed.", "ValidationError")
    if isinstance(error, json.JSONDecodeError):
        code = "SerializationException" if _speaks_json(environ) else "MalformedPolicyDocument"
    return Refused(f"a parameter is missing or can't be used ({type(error).__name__}: {str(error)[:200]}).", code)


def shapeless(environ: Mapping[str, Any], status: str, headers: list[tuple[str, str]], data: bytes) -> Refused | None:
    """AWS's error for an answer of the web framework's, which no AWS client can read; None for any other."""
    if int(status[:3]) < 400 or environ.get("REQUEST_METHOD") == "HEAD":
        return None
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    if data and not (kind.startswith("text/html") and data[:15].lower() in (b"<!doctype html>", b"<!doctype html ")):
        return None
    if status.startswith("5"):
        return Refused("moto can't handle the request.", "InternalError", status)
    return Refused("the request names no action that there is.", "InvalidAction", _BAD)


def readable(data: bytes) -> bytes:
    """An XML answer that a parser reads, whatever moto echoes in it."""
    if data.lstrip()[:1] != b"<" or len(data.translate(None, _CONTROL)) == len(data):
        return data
    return data.translate(_REPAIR)


def error_answer(environ: Mapping[str, Any], code: str, text: str) -> tuple[str, bytes]:
    """(content type, body) of an error in the protocol that was spoken, so that clients show its text."""
    text = _NOT_XML.sub("\ufffd", text)
    if _speaks_json(environ):
        data = json.dumps({"__type": code, "message": text, "error": text}).encode()
        return "application/x-amz-json-1.1", data
    inner = f"<Code>{code}</Code><Message>{escape(text)}</Message>"
    if service_of(environ) == "ec2":
        xml = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>oblako</RequestID></Response>"
    else:
        xml = f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>oblako</RequestId></ErrorResponse>"
    return "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{xml}'.encode()
