"""AGREED: requests that people answer."""

from governed_db.approval import keys
from governed_db.approval.answer import Answer, ApproverKey, SignedAnswer
from governed_db.approval.people import Approver, Authority, People, Person
from governed_db.approval.request import ApprovalRequest, Question
from governed_db.approval.store import Store, StoreUnavailable

__all__ = [
    "Answer",
    "ApprovalRequest",
    "Approver",
    "ApproverKey",
    "Authority",
    "People",
    "Person",
    "Question",
    "SignedAnswer",
    "Store",
    "StoreUnavailable",
    "keys",
]
