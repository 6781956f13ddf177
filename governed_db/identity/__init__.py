"""WHO: the caller, said by the process or checked against an issuer."""

from governed_db.identity.context import acting, acting_as, carry
from governed_db.identity.issuer import Issuer
from governed_db.identity.model import NOBODY, Identity, Kind, standing
from governed_db.identity.verifier import Verified, Verifier

__all__ = [
    "NOBODY",
    "Identity",
    "Issuer",
    "Kind",
    "Verified",
    "Verifier",
    "acting",
    "acting_as",
    "carry",
    "standing",
]
