"""The container engine: the only package that imports docker (design, "Layout").

Every function takes an ``Engine`` and raises nothing but ``EngineError`` and its kin.
"""

from __future__ import annotations

from .client import Engine, connect, connect_url

__all__ = ["Engine", "connect", "connect_url"]
