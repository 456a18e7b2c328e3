"""``{expr}`` and ``$var`` on a magic's line. Pure, but for evaluating the user's own expression.

IPython expands a whole line before a magic sees it, and spoils what merely looks like a placeholder: JSON,
``cost$5``, ``awk '{print $1}'``. The rules here, per placeholder:

- ``{expr}`` is expanded where it is a Python expression that uses a defined name, and all its names are defined.
- ``$name`` and ``$name.attribute`` are expanded where the name is defined, but not inside single quotes.
- ``${name}`` is the shell's, never expanded. ``{{expr}}`` and ``$$name`` write the text ``{expr}`` and ``$name``.
- Everything else stays as it is.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

_DOLLAR = re.compile(r"\$(\$?)([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*)*)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_FORMAT = re.compile(r"^(.*?)(![rsa])?(?::((?:.?[<>=^])?[+\- ]?#?0?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?))?$", re.DOTALL)
_LONGEST = 1000

# They end the session as soon as they are called, and "awk '{exit}'" looks just like them.
_NEVER = frozenset({"exit", "quit"})


@dataclass(frozen=True)
class Found:
    """A placeholder or an escape of one: ``value`` stands for the text up to ``end``."""

    end: int
    value: Any
    literal: bool = False


class Expander:
    """Expands placeholders with the user's names.

    Parameters
    ----------
    names : mapping of str to object
        The names that the user's cell sees.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names

    def at(self, text: str, start: int, *, dollar: bool = True) -> Found | None:
        """What begins at ``start``; None for plain text."""
        if text[start] == "$" and dollar:
            return self._dollar(text, start)
        if text[start] != "{":
            return None
        if text.startswith("{{", start):
            for end in self._closings(text, start + 2, "}}"):
                if self._parse(text[start + 2 : end]) is not None:
                    return Found(end + 2, text[start + 1 : end + 1], literal=True)
        for end in self._closings(text, start + 1, "}"):
            parsed = self._parse(text[start + 1 : end])
            if parsed is not None:
                return Found(end + 1, self._evaluate(text[start + 1 : end], *parsed))
        return None

    def text(self, text: str) -> str:
        """A text with its placeholders expanded and its quotes kept, as a shell command needs it."""
        parts: list[str] = []
        position, single, double = 0, False, False
        while position < len(text):
            found = self.at(text, position, dollar=not single)
            if found is not None:
                parts.append(as_text(found.value))
                position = found.end
                continue
            char = text[position]
            if char == "\\" and not single and position + 1 < len(text):
                parts.append(text[position : position + 2])
                position += 2
                continue
            if char == "'" and not double:
                single = not single
            elif char == '"' and not single:
                double = not double
            parts.append(char)
            position += 1
        return "".join(parts)

    def _dollar(self, text: str, start: int) -> Found | None:
        if text.startswith("${", start):
            return Found(start + 2, "${", literal=True)
        match = _DOLLAR.match(text, start)
        if match is None or match[2] not in self.names or match[2] in _NEVER:
            return None
        if match[1]:
            return Found(match.end(), match[0][1:], literal=True)
        value, end = self.names[match[2]], match.end(2)
        for attribute in filter(None, match[3].split(".")):
            # A name before a full stop or a file ending is the usual thing: "$web.txt".
            if not hasattr(value, attribute):
                break
            value, end = getattr(value, attribute), end + 1 + len(attribute)
        return Found(end, value)

    @staticmethod
    def _closings(text: str, start: int, mark: str) -> Iterable[int]:
        position = text.find(mark, start)
        while 0 <= position <= start + _LONGEST:
            yield position
            position = text.find(mark, position + 1)

    def _parse(self, inner: str) -> tuple[ast.Expression, str, str] | None:
        """The expression, conversion and format of a placeholder; None where it isn't one."""
        if not any(name in self.names for name in _WORD.findall(inner)):
            return None
        match = _FORMAT.match(inner)
        candidates = [(inner, "", "")]
        if match is not None and (match[2] or match[3]):
            candidates.append((match[1], match[2] or "", match[3] or ""))
        for source, conversion, form in candidates:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tree = ast.parse(source.strip(), mode="eval")
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                continue
            return (tree, conversion, form) if self._defined(tree) else None
        return None

    def _defined(self, tree: ast.Expression) -> bool:
        nodes = list(ast.walk(tree))
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        used = {node.id for node in nodes if isinstance(node, ast.Name)} - bound
        mine = {name for name in used if name in self.names}
        return bool(mine) and not used & _NEVER and all(hasattr(builtins, name) for name in used - mine)

    def _evaluate(self, inner: str, tree: ast.Expression, conversion: str, form: str) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # One dict for both: a comprehension inside sees only the globals.
                value = eval(compile(tree, "<ec2 line>", "eval"), dict(self.names))
                if conversion:
                    value = repr(value) if conversion == "!r" else ascii(value) if conversion == "!a" else str(value)
                return format(value, form) if form else value
        except Exception as error:
            raise UsageError(f"{{{inner}}} can't be expanded: {type(error).__name__}: {error}") from None


def as_text(value: Any) -> str:
    """The text that stands for a value: an instance's id, the members of a list, else ``str``."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return " ".join(as_text(item) for item in value)
    if hasattr(value, "id") and hasattr(value, "state"):
        return str(value.id)
    return str(value)
