"""People who answer approval requests in tests, each with a key of their own."""

from __future__ import annotations

from governed_db.approval import Approver, ApproverKey, Authority, keys


class Person:
    """An approver and what they sign with."""

    def __init__(self, subject: str, *groups: str) -> None:
        self.key: ApproverKey = keys.new(subject)
        self.approver = Approver(subject=subject, groups=frozenset(groups), keys=(self.key.public,))

    def as_toml(self) -> str:
        """The block of a policy that names them."""
        names = ", ".join(f'"{group}"' for group in sorted(self.approver.groups))
        groups = f"groups = [{names}]\n" if names else ""
        return (
            f'[[approver]]\nsubject = "{self.approver.subject}"\n{groups}keys = ["{self.key.public.text}"]\n'
        )


class Desk:
    """An authority, as a portal or a chat would be."""

    def __init__(self, name: str, issuer: str = "") -> None:
        self.key: ApproverKey = keys.new(name)
        self.authority = Authority(name=name, keys=(self.key.public,), issuer=issuer)


ANNA = Person("anna", "dba")
BEN = Person("ben", "dba")
CARL = Person("carl")
