"""What tells people that they are asked, and what it raises where they were not reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from attrs import field, frozen

from governed_db.approval.request import ApprovalRequest
from governed_db.policy.settings import NotifySettings

GROUP: Final = "governed_db.notifiers"
"""The group of entry points under which packages offer notifiers: each is called with a
:class:`~governed_db.policy.settings.NotifySettings`, and returns a :class:`Notifier`."""

Hook = Callable[[ApprovalRequest], object]
"""Called with each request; what it raises means that it has to be called again. Of an async function the
coroutine is run to its end, in an event loop of its own."""


class Undelivered(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """Nobody was reached, this time. The message holds nothing of the request, and no secret.

    ``after``: seconds for which the receiver asks to be left alone; ``None`` where it asks for nothing.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class NotReady(Exception):  # noqa: N818 - no failure: another process may be the one that tells people
    """This process cannot tell anybody in this way. The message says what it lacks, and no secret."""


@runtime_checkable
class Notifier(Protocol):
    """Tells people of a request.

    Attributes:
        name: on record, and in the store, so that another process with the same notifier can go on. Up to 200
            letters.
    """

    @property
    def name(self) -> str:
        """The notifier's name."""
        ...

    def tell(self, request: ApprovalRequest) -> object:
        """Tell people of ``request``. May be called again for one of which it has told already.

        Raises:
            Exception: they were not reached; :class:`Undelivered` says when to try again.
        """
        ...


@frozen
class Called:
    """A function as a notifier."""

    name: str
    _hook: Hook = field(repr=False)

    def tell(self, request: ApprovalRequest) -> object:
        """Call it."""
        return self._hook(request)


@frozen(kw_only=True)
class Notifiers:
    """Who is told of requests.

    Attributes:
        names: of all of them, in this process or not: each gets a notice of every request.
        here: those that this process can use.
        lacking: why it cannot use the others.
        routes: which requests each of the policy's is for.
    """

    names: tuple[str, ...] = ()
    here: Mapping[str, Notifier] = field(factory=dict)
    lacking: Mapping[str, str] = field(factory=dict)
    routes: Mapping[str, NotifySettings] = field(factory=dict, repr=False)

    def wants(self, name: str, request: ApprovalRequest) -> bool:
        """Whether the notifier of that name is for ``request``."""
        route = self.routes.get(name)
        if route is None:
            return True
        return (not route.rules or request.rule in route.rules) and (
            not route.approvers or not route.approvers.isdisjoint(request.approvers)
        )


def find(settings: Sequence[NotifySettings], hooks: Sequence[Hook | Notifier] = ()) -> Notifiers:
    """Return the policy's notifiers and those of the application.

    What lacks its secret here is no error: the process that asks people need not be the one that tells them.

    Raises:
        TypeError, ValueError: something in ``hooks`` is neither a notifier nor a function, or has no name
            that can be used.
    """
    here: dict[str, Notifier] = {}
    lacking: dict[str, str] = {}
    for one in settings:
        try:
            here[one.name] = _made(one)
        except NotReady as error:
            lacking[one.name] = str(error)
    for notifier in _hooks(hooks, taken={one.name for one in settings}):
        here[notifier.name] = notifier
    return Notifiers(
        names=(*(one.name for one in settings), *(n for n in here if n not in {s.name for s in settings})),
        here=here,
        lacking=lacking,
        routes={one.name: one for one in settings},
    )


# In the store, in records and on screens.
_NAMES = re.compile(r"[^\s\0][ -~]{0,199}")


def _hooks(hooks: Sequence[Hook | Notifier], taken: set[str]) -> Iterator[Notifier]:
    for hook in hooks:
        if isinstance(hook, Notifier):
            notifier: Notifier = hook
        elif callable(hook):
            module = getattr(hook, "__module__", "") or type(hook).__module__
            called = getattr(hook, "__qualname__", "") or type(hook).__qualname__
            notifier = Called(f"hook:{module}.{called}", hook)
        else:
            raise TypeError(f"hooks takes functions and notifiers, got {type(hook).__name__}")
        name = notifier.name
        if not isinstance(name, str) or not _NAMES.fullmatch(name):
            raise ValueError("a notifier's name is printable ASCII, 200 letters at most")
        if name in taken:
            raise ValueError(f"two notifiers have the name {name}: give one a 'name' of its own")
        taken.add(name)
        yield notifier


def _made(settings: NotifySettings) -> Notifier:
    if settings.slack:
        try:
            from governed_db.approval.slack_post import SlackNotifier  # noqa: PLC0415 - an extra
        except ImportError as error:
            if error.name is None or not error.name.startswith("slack_sdk"):
                raise
            raise NotReady("the extra 'slack' is not installed (pip install 'governed-db[slack]')") from None
        return SlackNotifier.of(settings)
    if settings.webhook:
        from governed_db.approval.webhook import WebhookNotifier  # noqa: PLC0415 - for who has one

        return WebhookNotifier.of(settings)
    return _plugin(settings)


def _plugin(settings: NotifySettings) -> Notifier:
    from importlib.metadata import entry_points  # noqa: PLC0415 - 20 ms, for who has a plugin

    found = list(entry_points(group=GROUP, name=settings.plugin))
    if len(found) != 1:
        how = "no package has" if not found else "more than one package has"
        raise NotReady(f"{how} an entry point {settings.plugin} in the group {GROUP}")
    try:
        made = found[0].load()(settings)
    except Exception as error:
        # A package of somebody else's: the name of its class alone, what it says may quote an option.
        raise NotReady(f"the plugin {settings.plugin} failed with {type(error).__name__}") from None
    if not isinstance(made, Notifier):
        raise NotReady(f"the plugin {settings.plugin} has made something that is no notifier")
    return Called(settings.name, made.tell)
