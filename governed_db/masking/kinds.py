"""What a type can hold: the veto of types over names."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from governed_db.catalog.model import Type


class Kind(Enum):
    """The sorts of types that decide what a column can hold."""

    TEXT = auto()
    INTEGER = auto()
    DECIMAL = auto()
    BOOLEAN = auto()
    DATE = auto()
    MOMENT = auto()
    DURATION = auto()
    JSON = auto()
    UUID = auto()
    BYTES = auto()
    INET = auto()
    MAC = auto()
    GEO = auto()
    ENUM = auto()
    OTHER = auto()


# OIDs from PostgreSQL's pg_type.dat: the elements, then their arrays.
_BY_OID: Final[Mapping[int, Kind]] = {
    oid: kind
    for kind, oids in {
        Kind.TEXT: (18, 19, 25, 1042, 1043, 705, 142, 1002, 1003, 1009, 1014, 1015, 143),
        Kind.INTEGER: (20, 21, 23, 26, 1005, 1007, 1016, 1028),
        Kind.DECIMAL: (700, 701, 790, 1700, 791, 1021, 1022, 1231),
        Kind.BOOLEAN: (16, 1000),
        Kind.DATE: (1082, 1182),
        Kind.MOMENT: (1114, 1184, 1115, 1185),
        Kind.DURATION: (1083, 1186, 1266, 1183, 1187, 1270),
        Kind.JSON: (114, 3802, 199, 3807),
        Kind.UUID: (2950, 2951),
        Kind.BYTES: (17, 1001),
        Kind.INET: (869, 650, 1041, 651),
        Kind.MAC: (829, 774, 1040, 775),
        Kind.GEO: (600, 601, 602, 603, 604, 628, 718),
    }.items()
    for oid in oids
}
_BY_NAME: Final[Mapping[str, Kind]] = {"hstore": Kind.JSON, "geometry": Kind.GEO, "geography": Kind.GEO}
_BY_CATEGORY: Final[Mapping[str, Kind]] = {
    "S": Kind.TEXT, "N": Kind.DECIMAL, "B": Kind.BOOLEAN, "E": Kind.ENUM, "G": Kind.GEO, "T": Kind.DURATION,
}  # fmt: skip


def kind_of(oid: int, types: Mapping[int, Type]) -> Kind:
    """Return what a type holds; of a domain what its base holds, of an array what its elements hold."""
    for _ in range(32):  # domains over domains end; a catalog that says otherwise must not hang us
        if (kind := _BY_OID.get(oid)) is not None:
            return kind
        declared = types.get(oid)
        if declared is None:
            return Kind.OTHER
        if declared.kind == "d" and declared.base:
            oid = declared.base
        elif declared.element and declared.category == "A":
            oid = declared.element
        elif declared.kind == "e":
            return Kind.ENUM
        else:
            return _BY_NAME.get(declared.name) or _BY_CATEGORY.get(declared.category, Kind.OTHER)
    return Kind.OTHER


_TEXTUAL: Final = frozenset({Kind.TEXT, Kind.JSON, Kind.OTHER})
_NUMBERS: Final = frozenset({Kind.INTEGER, Kind.DECIMAL})
_NUMBERED: Final = _TEXTUAL | _NUMBERS | {Kind.BYTES}
_CODED: Final = _TEXTUAL | {Kind.ENUM, Kind.INTEGER, Kind.BYTES}
_KEYS: Final = _TEXTUAL | {Kind.BYTES, Kind.UUID}
_PLACE: Final = _TEXTUAL | _NUMBERS | {Kind.GEO}

_HOLDERS: Final[Mapping[str, frozenset[Kind]]] = {
    **dict.fromkeys(
        (
            "PHONE_NUMBER", "CREDIT_CARD_NUMBER", "CREDIT_CARD_CVV", "BANK_ACCOUNT_NUMBER", "NATIONAL_ID",
            "US_SOCIAL_SECURITY_NUMBER", "TAX_ID", "PASSPORT", "DRIVERS_LICENSE_NUMBER", "INSURANCE_NUMBER",
            "MEDICAL_RECORD_NUMBER", "IMEI_HARDWARE_ID", "IMSI_ID", "SIM_ID", "BANK_ROUTING_NUMBER",
            "POSTAL_CODE", "CREDIT_SCORE", "INCOME", "AGE", "IP_ADDRESS", "MAC_ADDRESS",
        ),
        _NUMBERED,
    ),
    **dict.fromkeys(
        (
            "GENDER", "ETHNIC_GROUP", "RELIGION", "SEXUAL_ORIENTATION", "POLITICAL_OPINION", "TRADE_UNION",
            "MARITAL_STATUS", "NATIONALITY",
        ),
        _CODED,
    ),
    **dict.fromkeys(("AUTH_TOKEN", "API_KEY", "ENCRYPTION_KEY", "PASSWORD", "ADVERTISING_ID"), _KEYS),
    "SECRET": _KEYS | {Kind.INTEGER},
    "DATE_OF_BIRTH": _TEXTUAL | _NUMBERS | {Kind.DATE, Kind.MOMENT, Kind.BYTES},
    "CREDIT_CARD_EXPIRATION_DATE": _TEXTUAL | _NUMBERS | {Kind.DATE, Kind.MOMENT},
    "HEALTH": _CODED | {Kind.DECIMAL},
    "DATE_OF_DEATH": _TEXTUAL | {Kind.DATE, Kind.MOMENT},
    "PHOTO": frozenset({Kind.BYTES}),  # a text is a path: who opens it needs more than the row
    "DEVICE_ID": _KEYS | {Kind.INTEGER},
    "LOCATION_COORDINATES": _PLACE,
    "BIOMETRIC": _TEXTUAL | {Kind.BYTES},
}  # fmt: skip
_DEFAULT: Final = _TEXTUAL | {Kind.BYTES}  # bytea: encrypted by the application, or a citext of old
_YES_IS_ENOUGH: Final = frozenset(
    {
        "hiv", "pregnant", "pregnancy", "disability", "smoker", "behinderung", "schwerbehindert", "schwanger",
        "handicap", "handicape", "discapacidad", "deficiencia", "disabilita", "enceinte", "embarazo",
        "gravidez", "gravidanza", "zwangerschap", "niepelnosprawnosc", "fumeur", "diabetic", "handicapped",
    }
)  # fmt: skip


def holds(kind: Kind, label: str, phrase: tuple[str, ...] = ()) -> bool:
    """Tell whether a column of ``kind`` can hold what ``label`` says, named by ``phrase``."""
    if kind is Kind.BOOLEAN:  # email_verified says nothing of the address; is_pregnant says it all
        return label == "HEALTH" and not _YES_IS_ENOUGH.isdisjoint(phrase)
    # tax_id as a number is the key of a row of taxes. A national id has no such second meaning.
    # national_id is one; identity_card_id is the key of a row of identity cards.
    key = kind in (Kind.INTEGER, Kind.UUID) and phrase[-1:] == ("id",)
    if key and (label != "NATIONAL_ID" or len(phrase) > 2 or kind is Kind.UUID):
        return False
    return kind in _HOLDERS.get(label, _DEFAULT)
