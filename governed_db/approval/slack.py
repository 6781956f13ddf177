"""What comes back from Slack when somebody presses a button of a message: answers, by whom Slack has seen.

Slack says who pressed, and signs that with the app's signing secret. The policy says which member of Slack
is which approver (``[[approver]] slack = "U..."``), and names the key of this desk as an ``[[authority]]``:
whoever has that key can answer for everybody whom the policy names.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import orjson
from attrs import define, field, frozen
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.webhook import WebhookClient

from governed_db.approval import secret as secrets
from governed_db.approval.answer import ApproverKey
from governed_db.approval.desk import Desk
from governed_db.approval.notifier import NotReady
from governed_db.approval.people import Approver, Authority
from governed_db.approval.slack_message import (
    APPROVE,
    DENY,
    MAX_REASON,
    REASON,
    blocks_of,
    escaped,
    form_of,
    read_value,
    text_of,
)
from governed_db.approval.slack_post import SDK_LOG, TOKEN, client, undelivered
from governed_db.approval.standing import Standing
from governed_db.errors import GovernanceError
from governed_db.policy.settings import NOTIFY_TIMEOUT, SLACK_API, NotifySettings

SIGNING_SECRET: Final = "GOVERNED_DB_SLACK_SIGNING_SECRET"  # noqa: S105 - the name of a variable
"""The environment variable of the app's signing secret."""

MAX_BODY: Final = 512 * 1024
"""Bytes of what Slack sends: it holds the message that was shown, some 40 KB at the most."""

REMEMBERED: Final = 600.0
"""Seconds for which a callback is known, so that nobody sends it again: twice what its time may differ by."""

MOST_REMEMBERED: Final = 10_000
"""Callbacks that are known at a time. Only Slack can make one."""

FORGED_EVERY: Final = 60.0
"""Seconds between two records of callbacks that are not Slack's: anybody can send these."""

HOSTS: Final = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
"""Where Slack takes what is said to one person (``response_url``)."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_log = logging.getLogger("governed_db.approval")


@frozen(kw_only=True)
class Reply:
    """What a callback is answered with, by whatever serves HTTP.

    ``then`` has to be called once the answer is out: Slack waits for three seconds only, and what is said in
    the channel takes longer. It never raises.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    then: Callable[[], None] = field(default=lambda: None, repr=False)


@define(kw_only=True, eq=False)
class SlackApp:
    """What takes callbacks: the app's secrets, and the key that signs for its members. Safe with threads.

    Attributes:
        key: of an ``[[authority]]`` of the policy.
        client: of Slack's Web API; asks why somebody says no.
        api: its address, which says where answers to one person may go.
        timeout: seconds for one call of it.
    """

    key: ApproverKey = field(repr=False)
    client: WebClient = field(repr=False)
    api: str = SLACK_API
    timeout: float = NOTIFY_TIMEOUT
    _verifier: SignatureVerifier = field(repr=False)
    _seen: dict[str, float] = field(factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    _forged: int = field(default=0, init=False)
    _forged_told: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, settings: NotifySettings, key: ApproverKey, desk: Desk) -> Self:
        """Return the app that ``settings`` post to.

        Raises:
            NotReady: a secret of it is not here, or the key is not an authority's.
        """
        if not isinstance(desk.settings.people.owner(key.public), Authority):
            raise NotReady(
                "the key of a Slack desk is an [[authority]]'s: it signs for those who press a button"
            )
        secret = secrets.find(settings.secret_file, SIGNING_SECRET, "secret_file")
        token = secrets.find(settings.token_file, TOKEN, "token_file")
        return cls(
            key=key,
            client=client(token, settings.api, settings.timeout),
            api=settings.api,
            timeout=settings.timeout,
            verifier=SignatureVerifier(secret),
        )

    def refused(self, body: bytes, headers: Mapping[str, str]) -> str:
        """Return why a callback is not Slack's, or not new; "" where it is both."""
        said = {name.lower(): value for name, value in headers.items()}
        stamp, signature = said.get("x-slack-request-timestamp", ""), said.get("x-slack-signature", "")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and signature.isascii()):
            return "it has no time and signature of Slack's"
        try:
            believed = self._verifier.is_valid(body, stamp, signature)
        except ValueError:  # not UTF-8
            believed = False
        if not believed:
            return "it is not signed by Slack, or was not within the last five minutes"
        now = time.monotonic()
        with self._lock:
            for old in [s for s, at in self._seen.items() if at < now - REMEMBERED]:
                del self._seen[old]
            if signature in self._seen:
                return "it was sent before"
            self._seen[signature] = now
            while len(self._seen) > MOST_REMEMBERED:
                self._seen.pop(next(iter(self._seen)))
        return ""

    def forged(self, desk: Desk, why: str) -> None:
        """Put a callback that is not to be believed on record, not more often than :data:`FORGED_EVERY`."""
        now = time.monotonic()
        with self._lock:
            self._forged += 1
            if now < self._forged_told + FORGED_EVERY:
                return
            count, self._forged, self._forged_told = self._forged, 0, now
        _log.warning("A callback of Slack was refused: %s (%d of them)", why, count)
        desk.on_event("approval.refused", reason=f"a callback of Slack: {why}", count=count)

    def may_post(self, url: str) -> bool:
        """Whether ``url`` is where Slack takes what is said to one person."""
        try:
            parts, ours = urlsplit(url), urlsplit(self.api)
            if ours.hostname in _LOOPBACK:
                return (parts.scheme, parts.hostname, parts.port) == (ours.scheme, ours.hostname, ours.port)
            return (
                parts.scheme == "https"
                and parts.hostname in HOSTS
                and parts.port in (None, 443)
                and parts.username is None
            )
        except ValueError:
            return False

    def post(self, url: str, message: Mapping[str, Any]) -> None:
        """Send ``message`` to a ``response_url``. Never raises: who has answered has answered."""
        if not self.may_post(url):
            _log.warning("Slack names an address for answers that is not Slack's; nothing is sent there")
            return
        client = WebhookClient(url, timeout=self.timeout, retry_handlers=[], logger=SDK_LOG)  # type: ignore[arg-type]
        try:
            found = client.send_dict(dict(message))
            if found.status_code != 200:
                _log.warning(
                    "Slack has not taken what was said about an answer: status %s", found.status_code
                )
        except Exception as error:
            _log.warning("Slack has not taken what was said about an answer: %s", type(error).__name__)


@frozen(kw_only=True)
class _Pressed:
    """A button that somebody has pressed, or the form that it has opened."""

    request: str
    seal: str
    user: str
    url: str = ""


def answer(desk: Desk, body: bytes, headers: Mapping[str, str], *, app: SlackApp) -> Reply:
    """Take a callback of Slack's ("Interactivity"), whatever has received it.

    Args:
        desk: where requests are answered.
        body: as it was received, to the byte.
        headers: of the POST, in any case.
        app: the app's secrets, and the key that signs.

    Raises:
        GovernanceError: what was refused cannot be put on record.
    """
    if len(body) > MAX_BODY:
        return Reply(status=413)
    if why := app.refused(body, headers):
        app.forged(desk, why)
        return Reply(status=401)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=16)
        if "payload" not in fields:
            return Reply()  # Slack looks whether somebody is there (ssl_check)
        payload = orjson.loads(fields["payload"][0])
        kind = payload["type"]
        if kind == "block_actions":
            return _pressed(desk, payload, app)
        if kind == "view_submission" and payload["view"]["callback_id"] == DENY:
            return _said_no(desk, payload, app)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        return Reply(status=400)
    return Reply()  # somebody has closed the form, or the app has more to it


def _pressed(desk: Desk, payload: Mapping[str, Any], app: SlackApp) -> Reply:
    (action,) = payload["actions"]
    if action["action_id"] not in (APPROVE, DENY):
        return Reply()
    request_id, seal = read_value(action["value"])
    pressed = _Pressed(
        request=request_id,
        seal=seal,
        user=str(payload["user"]["id"]),
        url=str(payload.get("response_url", "")),
    )
    try:
        who = _who(desk, pressed.user)
        if action["action_id"] == DENY:
            return Reply(then=_asks_why(app, str(payload["trigger_id"]), pressed))
        standing = desk.approve(request_id, key=app.key, by=who.identity(), seal=seal)
    except GovernanceError as error:
        said = _refused(desk, pressed, error)
        return Reply(then=lambda: app.post(pressed.url, _whisper(said)))
    return Reply(then=_updates(app, pressed, standing))


def _said_no(desk: Desk, payload: Mapping[str, Any], app: SlackApp) -> Reply:
    view = payload["view"]
    kept = orjson.loads(view["private_metadata"])
    request_id, seal = read_value(kept["value"])
    pressed = _Pressed(request=request_id, seal=seal, user=str(payload["user"]["id"]), url=str(kept["url"]))
    reason = str(view["state"]["values"][REASON][REASON]["value"] or "").strip()
    try:
        if not reason or len(reason) > MAX_REASON:
            raise GovernanceError(
                "a reason has 1 to 1000 characters", rule="approval.answer", remedy="say why, in short"
            )
        who = _who(desk, pressed.user)
        standing = desk.deny(request_id, key=app.key, by=who.identity(), seal=seal, reason=reason)
    except GovernanceError as error:
        said = _refused(desk, pressed, error)
        return Reply(body=orjson.dumps({"response_action": "errors", "errors": {REASON: said}}))
    return Reply(then=_updates(app, pressed, standing))


def _who(desk: Desk, user: str) -> Approver:
    """Return the approver who is ``user`` in Slack.

    Raises:
        GovernanceError: nobody is, or more than one.
    """
    found = [each for each in desk.settings.people.approvers if user and each.slack == user]
    if len(found) != 1:
        many = "more than one approver has" if found else "no approver has"
        raise GovernanceError(
            f"{many} your member id in the policy",
            rule="approval.approver",
            remedy='the policy names approvers by it: [[approver]] slack = "U..."',
        )
    return found[0]


def _refused(desk: Desk, pressed: _Pressed, error: GovernanceError) -> str:
    """Put on record that an answer was refused, and return what its author is told."""
    if error.rule != "approval.answer":  # that one the desk has put on record
        user = pressed.user if pressed.user.isalnum() and len(pressed.user) <= 40 else ""
        desk.on_event(
            "approval.refused",
            request=pressed.request,
            rule=error.rule,
            slack=user,
            reason="pressed in Slack",
        )
    return f"{error}" if not error.remedy or error.remedy in str(error) else f"{error}: {error.remedy}"


def _whisper(said: str) -> dict[str, Any]:
    """Return a message that one person sees."""
    text = f"Your answer does not count: {escaped(said)}"
    return {"response_type": "ephemeral", "replace_original": False, "text": text[:3000]}


def _updates(app: SlackApp, pressed: _Pressed, standing: Standing) -> Callable[[], None]:
    def update() -> None:
        request = standing.request
        message = {
            "replace_original": True,
            "text": text_of(request),
            "blocks": blocks_of(request, standing),
        }
        app.post(pressed.url, message)

    return update


def _asks_why(app: SlackApp, trigger: str, pressed: _Pressed) -> Callable[[], None]:
    def ask() -> None:
        try:
            app.client.views_open(
                trigger_id=trigger, view=form_of(pressed.request, pressed.seal, pressed.url)
            )
        except Exception as error:
            said = undelivered(error) if isinstance(error, SlackApiError) else type(error).__name__
            _log.warning("Slack has not opened the form for a reason: %s", said)
            app.post(pressed.url, _whisper("Slack did not open the form; press Deny again"))

    return ask
