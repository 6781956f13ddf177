"""What a request looks like in Slack: Block Kit, https://docs.slack.dev/reference/block-kit.

All text comes from a statement, from its caller or from a store. None of it may become a mention, a link or
markup, and nobody is offered to agree to what is not shown whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any, Final

from governed_db.approval.request import ApprovalRequest
from governed_db.approval.shown import cell, in_line, visible
from governed_db.approval.standing import Standing

MAX_SECTION: Final = 3000
"""Characters of a section's text, as Slack counts them: escaped."""

MAX_FIELD: Final = 200
"""Characters of one field; Slack takes 2000, and ten of them."""

MAX_WORDS: Final = 700
"""Characters of what somebody says in words, and of the names of relations."""

MAX_SHOWN: Final = 8000
"""Characters of statement, values and rows, escaped. Slack refuses a message above some 13,000 in all of its
blocks (``msg_blocks_too_long``)."""

MAX_TEXT: Final = 300
"""Characters of the line that notifications show."""

MAX_REASON: Final = 1000
"""Characters of a reason given in Slack."""

APPROVE: Final = "governed_db.approve"
DENY: Final = "governed_db.deny"
"""``action_id`` of the buttons; ``DENY`` is the ``callback_id`` of the form that asks why, too."""

REASON: Final = "reason"
"""``block_id`` and ``action_id`` of the reason in the form."""

_FENCE = "```\n", "\n```"
_VALUE = re.compile(r"(apr_[0-9a-f]{1,64})\.([0-9a-f]{64})")

Block = dict[str, Any]


def escaped(text: str) -> str:
    """Return ``text`` so that Slack shows it as it is: no mention, no link, no control character.

    By https://docs.slack.dev/messaging/formatting-message-text, where three characters are all that has to be
    escaped. A backtick ends code, and cannot be escaped: it is shown as its look-alike U+02CB.
    """
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")


def value_of(request: ApprovalRequest) -> str:
    """Return what a button carries: which request, and as it was shown."""
    return f"{request.id}.{request.seal()}"


def read_value(value: object) -> tuple[str, str]:
    """Return id and seal of what a button carries.

    Raises:
        ValueError: it is no such value.
    """
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("the button is none of ours")
    return found[1], found[2]


def text_of(request: ApprovalRequest) -> str:
    """Return the line for notifications, and for clients that show no blocks."""
    return _cut(f"Approval needed: {_line(request.summary)} by {_line(str(request.requester))}", MAX_TEXT)


def blocks_of(request: ApprovalRequest, standing: Standing | None = None) -> list[Block]:
    """Return the message about ``request``; with buttons where it still waits for somebody.

    Args:
        request: what is asked.
        standing: how it stands; ``None``: nobody has answered.
    """
    facts, words = list(_facts(request)), list(_words(request))
    body, whole = _body(request)
    whole = whole and _fit([request.summary, *(said for _, said in facts)], MAX_FIELD)
    whole = whole and _fit([said for _, said in words], MAX_WORDS)
    open_ = standing is None or (standing.denied is None and not standing.agreed)
    blocks = [
        {"type": "header", "text": _plain(_title(standing))},
        _section(f"*{_code(request.summary)}*"),
        {"type": "section", "fields": [_mrkdwn(f"*{name}*\n{_code(said)}") for name, said in facts]},
        *(_section(f"*{name}*\n{_code(said, MAX_WORDS)}") for name, said in words if said),
        *body,
    ]
    if standing is not None and (said := _answers(standing)):
        blocks.append(_section(said))
    if open_ and not whole:
        blocks.append(
            _section(
                "This is too long to be shown whole here, and can only be denied here."
                f" To read all of it and agree: {_code(f'governed-db approvals show {request.id}')}"
            )
        )
    if open_:
        blocks.append({"type": "actions", "elements": _buttons(request, whole=whole)})
    return blocks


def form_of(request_id: str, seal: str, response_url: str) -> dict[str, Any]:
    """Return the form that asks why somebody says no."""
    import json  # noqa: PLC0415 - for who says no

    return {
        "type": "modal",
        "callback_id": DENY,
        "private_metadata": json.dumps({"value": f"{request_id}.{seal}", "url": response_url[:1000]}),
        "title": _plain("Deny the request"),
        "submit": _plain("Deny"),
        "close": _plain("Cancel"),
        "blocks": [
            {
                "type": "input",
                "block_id": REASON,
                "label": _plain("Why not? The caller is told."),
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON,
                    "multiline": True,
                    "min_length": 1,
                    "max_length": MAX_REASON,
                },
            }
        ],
    }


def _fit(texts: Sequence[str], most: int) -> bool:
    return all(len(_line(text, MAX_SECTION)) <= most for text in texts)


def _title(standing: Standing | None) -> str:
    if standing is None or (standing.denied is None and not standing.agreed):
        return "Approval needed"
    return "Approved" if standing.agreed else "Denied"


def _facts(request: ApprovalRequest) -> Iterator[tuple[str, str]]:
    asked = request.question
    yield "Asked by", str(request.requester)
    where = f"{asked.database} on {asked.server}" if asked.server else asked.database
    yield "Database", f"{where} as {asked.role}" if asked.role else where
    yield "Rows", _rows(request)
    yield "Rule", asked.rule
    yield "Can be answered by", ", ".join(asked.approvers) or "anybody else whom the policy names"
    yield "Needs", "1 person" if asked.needed == 1 else f"{asked.needed} different people"
    yield "Until", request.expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield "Request", request.id
    if request.cost is not None:
        yield "Planned cost", f"{request.cost:.0f}"


def _rows(request: ApprovalRequest) -> str:
    rows = "cannot be told before" if request.rows is None else f"{request.rows}"
    more = " or more" if request.rows_more else ""
    limit = "" if request.ceiling is None else f", at most {request.ceiling} when it runs"
    uncounted = request.question.beside and request.effect is None
    return rows + more + limit + (", and what triggers and foreign keys write beside" if uncounted else "")


def _words(request: ApprovalRequest) -> Iterator[tuple[str, str]]:
    yield "Why you are asked", request.reason
    yield "Touches", ", ".join(request.question.relations)
    yield "What the caller says it is for", request.requester.purpose or ""


def _body(request: ApprovalRequest) -> tuple[list[Block], bool]:
    """Return the blocks of statement, values and rows, and whether all of it is in them."""
    parts = [("Statement", request.question.sql or request.statement)]
    if request.question.values:
        parts.append(("Values", "\n".join(request.question.values)))
    if request.question.binds == "effect" and request.effect is None:
        parts.append(("Rows", "cannot be shown here: where it writes, it is refused when it runs"))
    if request.effect is not None:
        parts.append((f"Rows of {_line(request.effect.relation)}", "\n".join(_effect(request))))
    blocks: list[Block] = []
    left = MAX_SHOWN
    for name, text in parts:
        title = f"*{_cut(name, MAX_FIELD)}*\n"
        for piece in _pieces(escaped(text), MAX_SECTION - len(title) - len(_FENCE[0]) - len(_FENCE[1])):
            if len(piece) > left:
                if left > 0:
                    blocks.append(_section(title + _pieces(piece, left)[0].join(_FENCE)))
                return blocks, False
            blocks.append(_section(title + piece.join(_FENCE)))
            left -= len(piece)
            title = ""
    return blocks, True


def _effect(request: ApprovalRequest) -> Iterator[str]:
    effect = request.effect
    assert effect is not None
    for row in effect.shown:
        pairs = zip(effect.key, row.key, strict=False)
        key = ", ".join(f"{in_line(name)} = {cell(value)}" for name, value in pairs)
        before, after = (_values(effect.columns, values) for values in (row.before, row.after))
        yield f"{key}: {' -> '.join(filter(None, (before or 'new', after or 'gone')))}"
    if effect.rows > len(effect.shown):
        yield f"and {effect.rows - len(effect.shown)} more"


def _values(columns: Sequence[str], values: Sequence[str | None]) -> str:
    pairs = zip(columns, values, strict=False)
    return ", ".join(f"{in_line(name)} = {cell(value)}" for name, value in pairs)


def _pieces(text: str, most: int) -> list[str]:
    """Split escaped ``text`` into pieces of up to ``most`` characters, at ends of lines where it can be."""
    found = []
    while len(text) > most:
        end = text.rfind("\n", 0, most + 1)
        if end <= 0:
            end = most
            # Not within an entity: the longest is "&amp;".
            entity = text.rfind("&", max(0, end - 4), end)
            if entity >= 0 and ";" not in text[entity:end]:
                end = entity
        end = max(end, 1)
        found.append(text[:end])
        text = text[end:].removeprefix("\n")
    return [*found, text] if text or not found else found


def _answers(standing: Standing) -> str:
    if standing.denied is not None:
        why = f"\n{_code(standing.because, MAX_REASON * 2)}" if standing.because else ""
        return f"Denied by {_code(str(standing.denied.identity))}{why}"
    agreed = ", ".join(_code(str(person.identity)) for person in standing.granted)
    if not agreed:
        return ""
    return _cut(f"{len(standing.granted)} of {standing.request.needed} have agreed: {agreed}", MAX_SECTION)


def _buttons(request: ApprovalRequest, *, whole: bool) -> list[Block]:
    value = value_of(request)
    deny = {"type": "button", "action_id": DENY, "style": "danger", "text": _plain("Deny"), "value": value}
    if not whole:
        return [deny]
    approve = {
        "type": "button",
        "action_id": APPROVE,
        "style": "primary",
        "text": _plain("Approve"),
        "value": value,
    }
    return [approve, deny]


def _code(text: str, most: int = MAX_FIELD) -> str:
    said = _line(text, most)
    return f"`{said}`" if said else "`-`"


def _line(text: str, most: int = MAX_FIELD) -> str:
    return _cut(escaped(" ".join(text.split())), most)


def _cut(text: str, most: int) -> str:
    """Return the beginning of escaped ``text``."""
    return text if len(text) <= most else f"{_pieces(text, most - 4)[0]} ..."


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: names of channels and people, and addresses, stay text.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
