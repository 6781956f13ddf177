"""AGREED: requests that people answer."""

from governed_db.approval.desk import Approval, Approvals, ProcessApprovals
from governed_db.approval.request import ApprovalRequest

__all__ = ["Approval", "ApprovalRequest", "Approvals", "ProcessApprovals"]
