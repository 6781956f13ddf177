"""How claims become subject, groups and kind: what an issuer's tokens say, in the words of policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from attrs import field, frozen

from governed_db.identity.model import Kind

Path = tuple[str, ...]
"""Keys from the outermost claim inwards; a key may hold dots."""

MISSING = object()
"""Stands for a claim that is not there, where ``None`` (JSON's null) is an answer."""


def at(claims: Mapping[str, Any], path: Path) -> Any:
    """Return what stands at ``path``, :data:`MISSING` where nothing does."""
    found: Any = claims
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return MISSING
        found = found[key]
    return found


@frozen(kw_only=True)
class Condition:
    """What has to hold of claims; every part does.

    Attributes:
        where: claims and what they are to be: a pattern or one of several (for text), a number, true or
            false. Where the claim is a list, one of its elements has to fit.
        present, absent: claims that are there, and are not, whatever they say. null is not there.
    """

    where: tuple[tuple[Path, tuple[str | int | bool, ...]], ...] = ()
    present: tuple[Path, ...] = ()
    absent: tuple[Path, ...] = ()

    def unmet(self, claims: Mapping[str, Any]) -> str:
        """Return the first claim that does not fit, as ``a.b``, "" where all do."""
        for path, wanted in self.where:
            if not any(_fits(value, wanted) for value in _each(at(claims, path))):
                return ".".join(path)
        for path in self.present:
            if at(claims, path) in (MISSING, None):
                return ".".join(path)
        for path in self.absent:
            if at(claims, path) not in (MISSING, None):
                return ".".join(path)
        return ""


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    else:
        yield value


def _fits(value: Any, wanted: tuple[str | int | bool, ...]) -> bool:
    # 1 is not true, though Python says that it is.
    return any(
        fnmatchcase(value, one) if isinstance(one, str) and isinstance(value, str) else _same(value, one)
        for one in wanted
    )


def _same(value: Any, one: str | int | bool) -> bool:
    return type(value) is type(one) and bool(value == one)


@frozen(kw_only=True)
class KindRule:
    """A kind, and the claims that give it."""

    kind: Kind = field(converter=Kind)
    when: Condition = field(factory=Condition)


@frozen(kw_only=True)
class Mapped:
    """How the claims of one issuer are read.

    Attributes:
        subject: where the subject is.
        groups: where groups are; of several places, all.
        kinds: what gives the token's subject its kind, the first that fits; unknown where none does.
        actors: the same for actors, held against the members of ``act``.
        actor: a claim that names the program which acts for a person, for issuers that know no ``act``
            (``azp``); empty: none.
    """

    subject: Path = ("sub",)
    groups: tuple[Path, ...] = ()
    kinds: tuple[KindRule, ...] = ()
    actors: tuple[KindRule, ...] = ()
    actor: Path = ()


def kind_of(claims: Mapping[str, Any], rules: tuple[KindRule, ...]) -> Kind:
    """Return the kind that the first fitting rule gives; unknown, and never human, where none fits."""
    return next((rule.kind for rule in rules if not rule.when.unmet(claims)), Kind.UNKNOWN)
