"""Posting requests to a channel of Slack."""

from __future__ import annotations

import logging
import re
from typing import Final, Self

from attrs import field, frozen
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from governed_db.approval import secret as secrets
from governed_db.approval.notifier import Undelivered
from governed_db.approval.request import ApprovalRequest
from governed_db.approval.slack_message import blocks_of, text_of
from governed_db.policy.settings import NotifySettings

TOKEN: Final = "GOVERNED_DB_SLACK_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable of the app's bot token (scope ``chat:write``)."""

SDK_LOG: Final = logging.getLogger("governed_db.approval.slack_sdk")
"""Of the SDK, which logs what it sends at DEBUG: silent."""

SDK_LOG.setLevel(logging.CRITICAL)

_CODE = re.compile(r"[a-z][a-z0-9_]{0,60}")


def client(token: str, api: str, timeout: float) -> WebClient:
    """Return a client of Slack's Web API at ``api``; ``timeout``: seconds for one step of a call."""
    # Whole seconds are what its type says; the socket takes fractions. Retries are the courier's.
    return WebClient(token, base_url=api, timeout=timeout, retry_handlers=[], logger=SDK_LOG)  # type: ignore[arg-type]


@frozen(kw_only=True)
class SlackNotifier:
    """Posts each request to a channel.

    Attributes:
        name: on record.
        channel: its id, or ``#name``.
        client: of Slack's Web API.
    """

    name: str
    channel: str
    client: WebClient = field(repr=False)

    @classmethod
    def of(cls, settings: NotifySettings) -> Self:
        """Return what the policy names.

        Raises:
            NotReady: its token is not here.
        """
        token = secrets.find(settings.token_file, TOKEN, "token_file")
        return cls(
            name=settings.name,
            channel=settings.slack,
            client=client(token, settings.api, settings.timeout),
        )

    def tell(self, request: ApprovalRequest) -> None:
        """Post ``request``.

        Raises:
            Undelivered: Slack has not taken it.
        """
        try:
            self.client.chat_postMessage(
                channel=self.channel,
                text=text_of(request),
                blocks=blocks_of(request),
                unfurl_links=False,
                unfurl_media=False,
                parse="none",
                link_names=False,
            )
        except Exception as error:
            # The SDK raises what it stumbles over where an answer is none of Slack's.
            raise undelivered(error) from None


def undelivered(error: Exception) -> Undelivered:
    """Return what is to be said of an error: Slack's own code, and nothing that was sent."""
    if not isinstance(error, SlackApiError):
        return Undelivered(f"Slack cannot be reached ({type(error).__name__})")
    response = error.response
    status = getattr(response, "status_code", None)
    code = response.get("error") if hasattr(response, "get") else None
    after = {k.lower(): v for k, v in getattr(response, "headers", {}).items()}.get("retry-after", "")
    after = str(after[0] if isinstance(after, list) and after else after)
    said = code if isinstance(code, str) and _CODE.fullmatch(code) else f"status {status}"
    return Undelivered(
        f"Slack says {said}", after=float(after[:9]) if after.isascii() and after.isdigit() else None
    )
