"""WHO: the caller, said by the process or checked against an issuer."""

from governed_db.identity.context import acting, acting_as, carry
from governed_db.identity.model import NOBODY, Identity, Kind, standing

__all__ = ["NOBODY", "Identity", "Kind", "acting", "acting_as", "carry", "standing"]
