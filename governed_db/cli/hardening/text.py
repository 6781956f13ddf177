"""SQL as text: statements with their reasons, and what PUBLIC loses. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen
from psycopg import sql

from governed_db.cli.hardening.asking import Answer
from governed_db.cli.hardening.facts import Facts
from governed_db.policy import Verdict

KEPT = "the others keep what they had"
"""Why something is granted that no rule speaks of."""

_VERDICTS = {Verdict.ALLOW: "allowed", Verdict.NEEDS_APPROVAL: "needs approval", Verdict.BLOCK: "blocked"}


@frozen
class Step:
    """One statement, and why it is there. ``text`` has no semicolon."""

    text: str
    why: str


@frozen
class Section:
    """Statements that belong together, under a heading."""

    heading: str
    steps: tuple[Step, ...]


def comment(text: str) -> str:
    """Return ``text`` as one SQL comment: no name in it can end the line."""
    return "-- " + "".join(c if c.isprintable() else "?" for c in text)


def render(opening: Iterable[str], sections: Iterable[Section], closing: Iterable[str]) -> str:
    """Return the script: comments, one transaction, comments."""
    lines = [comment(text) for text in opening]
    lines += ["", "BEGIN;", "", comment("Names below are qualified; nothing else decides what they mean.")]
    lines.append("SET LOCAL search_path = '';")
    for section in sections:
        if section.steps:
            lines += ["", comment(f"==== {section.heading}"), ""]
            for step in section.steps:
                lines += [comment(step.why), f"{step.text};"]
    lines += ["", "COMMIT;", ""]
    lines += [comment(text) for text in closing]
    return "\n".join(lines) + "\n"


def ident(*names: str) -> str:
    """Return ``names`` as one qualified identifier."""
    return sql.Identifier(*names).as_string()


def literal(text: str) -> str:
    """Return ``text`` as a string constant."""
    return sql.Literal(text).as_string()


def taken(
    facts: Facts, privilege: str, what: str, answers: Mapping[str, Answer], *, public: bool
) -> Iterator[Step]:
    """Take ``privilege`` from PUBLIC where one of the roles must not have it; give it to who may."""
    refused = {role: answer for role, answer in answers.items() if not answer.granted}
    if refused and public:
        yield Step(f"REVOKE {privilege} ON {what} FROM PUBLIC", because(refused))
        if facts.others:
            yield Step(f"GRANT {privilege} ON {what} TO {names(facts.others)}", KEPT)
    for role, answer in answers.items():
        if answer.granted:
            yield Step(f"GRANT {privilege} ON {what} TO {ident(role)}", f"{answer.rule}: {said(answer)}")
        else:
            yield Step(f"REVOKE {privilege} ON {what} FROM {ident(role)}", f"{answer.rule}: {said(answer)}")


def because(refused: Mapping[str, Answer]) -> str:
    """Return why something is taken from PUBLIC."""
    first = next(iter(refused.values()))
    return f"{first.rule}: {said(first)} for {', '.join(refused)}, who is part of PUBLIC"


def said(answer: Answer) -> str:
    """Return an answer in words."""
    return _VERDICTS[answer.verdict]


def names(roles: Iterable[str]) -> str:
    """Return a list of roles."""
    return ", ".join(map(ident, roles))
