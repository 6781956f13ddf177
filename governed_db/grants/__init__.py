"""Grants: what people allow a caller for a while, beyond what the policy does."""

from governed_db.grants.model import Grant, Granted, Grantee

__all__ = ["Grant", "Granted", "Grantee"]
