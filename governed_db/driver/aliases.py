"""psycopg's submodules under our name: ``governed_db.rows`` is ``psycopg.rows``, the very same object.

Only a module that exports a connection or cursor class differs: there a stand-in exports the governed
one instead, so that no import path under ``governed_db`` leads to an ungoverned connection.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import psycopg

PACKAGE = "governed_db"


class _Alias(Loader):
    """Loads a module that exists already, and leaves its own identity as it was."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__
        self._loader = getattr(module, "__loader__", None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just written the alias's spec over the module's own.
        module.__spec__ = self._spec
        module.__loader__ = self._loader


class PsycopgAliases(MetaPathFinder):
    """Finds ``governed_db.x`` as ``psycopg.x`` where we have no ``x`` of our own.

    Args:
        governed: psycopg's classes by the governed ones that stand for them.
    """

    def __init__(self, governed: Mapping[type, type]) -> None:
        self._governed = dict(governed)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for psycopg's module of the same name, or ``None``."""
        package, _, tail = fullname.partition(".")
        if package != PACKAGE or not tail or self._ours(tail):
            return None
        name = f"psycopg.{tail}"
        try:
            if importlib.util.find_spec(name) is None:
                return None
        except ModuleNotFoundError:
            return None
        module = self.stand_in(fullname, importlib.import_module(name))
        return importlib.util.spec_from_loader(
            fullname, _Alias(module), is_package=hasattr(module, "__path__")
        )

    def stand_in(self, fullname: str, module: ModuleType) -> ModuleType:
        """Return ``module``, or a copy that exports governed classes where it exports ungoverned ones."""
        exported = {
            name: twin
            for name, value in vars(module).items()
            if not name.startswith("_") and isinstance(value, type) and (twin := self._twin(value))
        }
        if not exported:
            return module
        copy = ModuleType(fullname, module.__doc__)
        copy.__dict__.update({k: v for k, v in vars(module).items() if not k.startswith("__")}, **exported)
        connect = vars(module).get("connect")
        if (twin := self._twin(getattr(connect, "__self__", None))) is not None:
            copy.__dict__["connect"] = twin.connect  # type: ignore[attr-defined]
        if hasattr(module, "__path__"):
            copy.__path__ = module.__path__
        return copy

    def _twin(self, cls: object) -> type | None:
        """Return what stands for ``cls``: its governed twin, made for subclasses such as CockroachDB's."""
        if not isinstance(cls, type):
            return None
        if cls in self._governed:
            return self._governed[cls]
        if not issubclass(cls, tuple(self._governed)) or issubclass(cls, tuple(self._governed.values())):
            return None
        nearest = next(base for base in cls.__mro__ if base in self._governed)
        made = type(cls.__name__, (self._governed[nearest], cls), {"__module__": PACKAGE})
        self._governed[cls] = made
        return made

    @staticmethod
    def _ours(tail: str) -> bool:
        head = tail.partition(".")[0]
        folders = map(Path, sys.modules[PACKAGE].__path__)
        return any((f / f"{head}.py").exists() or (f / head / "__init__.py").exists() for f in folders)


def twins() -> dict[type, type]:
    """Return psycopg's connection and cursor classes by their governed twins."""
    from governed_db.driver import connection, cursors  # noqa: PLC0415 - this module is imported before them

    pairs: dict[type, type] = {
        psycopg.Connection: connection.Connection,
        psycopg.AsyncConnection: connection.AsyncConnection,
    }
    for governed in cursors.ALL:
        pairs[getattr(psycopg, governed.__name__)] = governed
    return pairs
