"""Values on their way in: tokens become what they stand for, masks are kept from where true values are.

A function of the call, its plan and the keys. What it returns may hold real values and is sent and forgotten;
no message here says anything of a value but which parameter it is, so that a guess that is right and one that
is wrong are answered alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from attrs import frozen
from psycopg.abc import Buffer

from governed_db.masking import tokens
from governed_db.masking.keys import Keyring
from governed_db.masking.recognise import TOKEN, contains, recognise, stub
from governed_db.masking.slots import Given, Slot
from governed_db.masking.values import array_text, elements, rewritten, text_of, uuid_text
from governed_db.run import Call, Sending

LOOKUP = "masking.lookup"
WRITE_BACK = "masking.write_back"
_BINARY = 1  # psycopg.pq.Format.BINARY


@frozen(kw_only=True)
class Refused:
    """Why a value is not let in. Neither text says anything of the value itself."""

    rule: str
    reason: str
    remedy: str


class _No(Exception):  # noqa: N818 - carries a refusal out of a loop, and never leaves this module
    def __init__(self, refused: Refused) -> None:
        super().__init__()
        self.refused = refused


def settle(call: Call, given: Given, keys: Keyring | None, encoding: str) -> Sending | Refused | None:
    """Return what is sent in the place of ``call``, ``None`` where that is the call itself, or a refusal.

    Args:
        call: one execution: as many values as it has types.
        given: of its plan.
        keys: what tokens were made with.
        encoding: Python's name of the connection's encoding.
    """
    try:
        return _Call(call, given, keys, encoding).settled()
    except _No as no:
        return no.refused


def each(call: Call) -> Sequence[Call]:
    """Return ``call`` as its single executions: the values of an executemany stand one set after another."""
    width = len(call.types)
    params = call.params or ()
    if not width or len(params) <= width:
        return (call,)
    formats = call.formats
    return [
        Call(
            call.text,
            call.types,
            params[start : start + width],
            call.copies,
            1,
            None if formats is None else formats[start : start + width],
        )
        for start in range(0, len(params), width)
    ]


class _Call:
    """One execution, while it is settled."""

    def __init__(self, call: Call, given: Given, keys: Keyring | None, encoding: str) -> None:
        self.call = call
        self.given = given
        self.keys = keys
        self.encoding = "utf-8" if encoding == "ascii" else encoding  # psycopg's name for "not known"
        self.slots: dict[int, list[Slot]] = {}
        for slot in given.slots:
            self.slots.setdefault(slot.operand.parameter, []).append(slot)

    def settled(self) -> Sending | None:
        # A client cursor's values stand in the text; what it calls parameters are their spellings.
        params: list[Buffer | None] = list(self.call.params or ()) if self.call.types else []
        changed: dict[int, bytes] = {}
        for number in sorted(self.given.occurrences):
            if number > len(params):
                # EXECUTE gives these values, or nobody: they cannot be looked at here.
                self._absent(number)
                continue
            made = self._parameter(number, params[number - 1])
            if made is not None:
                changed[number] = made
        text, added = self._constants(len(params))
        if not changed and not added:
            return None
        for number, value in changed.items():
            params[number - 1] = value
        return Sending(
            text.encode(self.encoding) if added else self.call.text,
            params + added,
            types=(*self.call.types, *(0 for _ in added)),
            formats=[*(self.call.formats or [0] * (len(params))), *(0 for _ in added)],
        )

    def _absent(self, number: int) -> None:
        for slot in self.slots.get(number, ()):
            if not slot.raw:
                raise _No(_wanted(slot, f"parameter {number}"))

    def _parameter(self, number: int, value: Buffer | None) -> bytes | None:
        """Return what a parameter becomes, ``None`` where it stays."""
        name = f"parameter {number}"
        slots = self.slots.get(number, [])
        if value is None:
            for slot in slots:
                if not slot.null:
                    raise _No(_wanted(slot, name))
            return None
        oid = self.call.types[number - 1] if number <= len(self.call.types) else 0
        formats = self.call.formats
        binary = formats is not None and formats[number - 1] == _BINARY
        text = text_of(value, oid, binary, self.encoding)
        self._check_elsewhere(number, name, text, slots)
        replaced: bytes | None = None
        for slot in slots:
            self._check(slot, name, text)
            if slot.operand.array:
                parts = elements(value, binary, self.encoding)
                if parts is None:
                    self._one(slot, name, text)  # what is no array is no token either
                    continue
                resolved = {part: self._one(slot, name, part) for part in parts}
                if any(new is not None for new in resolved.values()):
                    self._check_alone(number, name, slot)
                    replaced = rewritten(value, binary, self.encoding, partial(_instead, resolved))
            else:
                parts = elements(value, binary, self.encoding) if slot.stored else None
                for part in parts or ():
                    self._check(slot, name, part)
                new = self._one(slot, name, text)
                if new is not None:
                    self._check_alone(number, name, slot)
                    replaced = new.encode(self.encoding)
        return replaced

    def _constants(self, held: int) -> tuple[str, list[Buffer | None]]:
        """Return the text with parameters in the place of constants that are tokens, and their values.

        Parameters, because the text of a statement can be read back by the statement itself and by others.
        """
        given = self.given
        text = given.text
        added: list[Buffer | None] = []
        edits: list[tuple[int, int, str]] = []
        compared = {slot.operand.location: slot for slot in self.slots.get(0, ())}
        for at, slot in compared.items():
            if at not in given.constants and not slot.raw:
                raise _No(_wanted(slot, _constant(at)))
        for at in sorted(given.constants):
            constant = given.constants[at]
            name = _constant(at)
            if at not in compared:
                if given.written and at not in given.plain:
                    raise _No(_kept_out(name, given.written))
                continue
            slot = compared[at]
            self._check(slot, name, constant)
            new = self._constant(slot, name, constant)
            if new is None:
                continue
            written = f"'{constant}'"
            if not text.startswith(written, at) or max(given.occurrences, default=0) > held:
                raise _No(_unplaced(slot, name))
            added.append(new.encode(self.encoding))
            edits.append((at, at + len(written), f" ${held + len(added)} "))
        for start, end, parameter in reversed(edits):
            text = text[:start] + parameter + text[end:]
        return text, added

    def _constant(self, slot: Slot, name: str, constant: str) -> str | None:
        if not slot.operand.array:
            return self._one(slot, name, constant)
        found = False

        def replace(part: str) -> str:
            nonlocal found
            new = self._one(slot, name, part)
            found = found or new is not None
            return part if new is None else new

        made = array_text(constant, replace)
        return made if found else None

    def _one(self, slot: Slot, name: str, text: str) -> str | None:
        """Return what one value becomes in one place, ``None`` where it stays."""
        found = recognise(text, self.given.marks)
        if found is None or found.kind != TOKEN:
            if not slot.raw:
                raise _No(_wanted(slot, name))
            return None
        if not slot.resolves:
            raise _No(_unresolved(slot, name, slot.why))
        if found.label in slot.labels and self.keys is not None:
            with suppress(tokens.UnknownToken):
                return self._written(tokens.resolve(self.keys, found.label, text), slot, name)
        raise _No(_unknown(slot, name))

    def _written(self, value: str, slot: Slot, name: str) -> str:
        """Return ``value`` where it can be sent: the error of an encoding holds what it could not encode."""
        with suppress(UnicodeEncodeError):
            value.encode(self.encoding)
            return value
        raise _No(_unresolved(slot, name, _UNWRITABLE))

    def _check(self, slot: Slot, name: str, text: str) -> None:
        """Refuse a mask on its way into a masked column; a token that stands alone is another matter."""
        if not slot.stored:
            return
        found = recognise(text, self.given.marks)
        if found is None:
            found = contains(text, self.given.marks)
            if found is None and not stub(text):
                return
        elif found.kind == TOKEN:
            return
        raise _No(_written_back(slot, name))

    def _check_elsewhere(self, number: int, name: str, text: str, slots: Sequence[Slot]) -> None:
        """Refuse a mask that could get into a relation with masked columns by a way that is not followed."""
        if not self.given.written:
            return
        followed = self.given.plain.union(slot.operand.location for slot in slots)
        if self.given.occurrences[number] <= followed:
            return
        if contains(text, self.given.marks) is not None:
            raise _No(_kept_out(name, self.given.written))

    def _check_alone(self, number: int, name: str, slot: Slot) -> None:
        """Refuse to resolve a parameter that stands in other places as well: there its value would show."""
        same = {s.operand.location for s in self.slots[number] if s.resolves}
        if not self.given.occurrences[number] <= same:
            raise _No(_not_alone(slot, name))


def _instead(resolved: Mapping[str, str | None], text: str) -> str:
    new = resolved[text]
    return text if new is None else new


def _constant(at: int) -> str:
    return f"the constant at character {at + 1}"


def _holds(slot: Slot) -> str:
    return f"{slot.column}, which holds {' or '.join(sorted(slot.labels))} and is masked for this caller"


def _wanted(slot: Slot, name: str) -> Refused:
    return Refused(
        rule=LOOKUP,
        reason=f"{name} is compared with {_holds(slot)}, and is no token of that class",
        remedy="give back a token, if that is what a SELECT of the column returns, or filter by columns that"
        " are not masked",
    )


def _unknown(slot: Slot, name: str) -> Refused:
    return Refused(
        rule=LOOKUP,
        reason=f"{name} looks like a token, and is none that stands for a value of {_holds(slot)}",
        remedy="give back a token exactly as a SELECT of a column of the same class returned it; one that was"
        " made under keys which are gone has to be read anew",
    )


def _unresolved(slot: Slot, name: str, why: str) -> Refused:
    return Refused(
        rule=LOOKUP,
        reason=f"{name} is a token for {_holds(slot)}; there a token {why}",
        remedy="name the rows by columns that are not masked, such as the key; who keeps the policy may allow"
        " look-ups in [masking] lookups",
    )


def _unplaced(slot: Slot, name: str) -> Refused:
    return Refused(
        rule=LOOKUP,
        reason=f"{name} is a token for {_holds(slot)}, written in a way that cannot be replaced",
        remedy="give it as a parameter, or as a plain constant in single quotes",
    )


def _not_alone(slot: Slot, name: str) -> Refused:
    return Refused(
        rule=LOOKUP,
        reason=f"{name} is a token for {_holds(slot)}, and stands elsewhere in the statement as well, where"
        " its value would show",
        remedy="give the token once for each place, as parameters of their own",
    )


def _written_back(slot: Slot, name: str) -> Refused:
    return Refused(
        rule=WRITE_BACK,
        reason=f"{name} is a mask, and would be written over the true value in {_holds(slot)}",
        remedy="leave the column out of what is written, or give a true value",
    )


def _kept_out(name: str, written: str) -> Refused:
    return Refused(
        rule=WRITE_BACK,
        reason=f"{name} holds a mask, and it cannot be told that it does not end up in a masked column of"
        f" {written}",
        remedy="write masks into plain columns alone, each as a value of its own in VALUES or SET",
    )


UNREADABLE = Refused(
    rule=WRITE_BACK,
    reason="COPY writes masked columns in a format that cannot be looked into for masks",
    remedy="use the text, csv or binary format with no ENCODING, or write_row()",
)


def row_value(
    slot: Slot, given: Given, keys: Keyring | None, text: str, encoding: str
) -> str | Refused | None:
    """Return what one value of a row of COPY becomes, ``None`` where it stays, or a refusal."""
    one = _Call(Call(b""), given, keys, encoding)
    try:
        one._check(slot, _ROW, text)
        return one._one(slot, _ROW, text)
    except _No as no:
        return no.refused


def row_text(slot: Slot, given: Given, text: str) -> Refused | None:
    """Return why a value in a row of COPY that is written raw is not let in, ``None`` where it is."""
    found = contains(text, given.marks) or contains(uuid_text(text), given.marks)
    if found is None:
        return _written_back(slot, _ROW) if stub(text) else None
    if found.kind == TOKEN and slot.resolves:
        return _unresolved(slot, _ROW, "is resolved in INSERT and in rows given to write_row() alone")
    return _written_back(slot, _ROW)


_UNWRITABLE = "stands for characters that the encoding of this connection does not have"
_ROW = "a value in a row of COPY"
