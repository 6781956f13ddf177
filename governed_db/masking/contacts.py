"""Recognise addresses and numbers by which somebody is reached or found: mail, telephone, network, place.

Telephone numbers are read by the phonenumbers library, a port of Google's libphonenumber. It is large, so it
is imported when the first text that could be a number is met.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from types import ModuleType
from typing import Final

EMAIL: Final = re.compile(
    r"(?<![\w.%+/@-])(?!git@)[\w.%+'-]{1,64}"
    r"@((?:[\w](?:[\w-]{0,61}[\w])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,}))(?![\w@])(?!:[\w/])"
)
"""A mailbox of RFC 5321 as people write them; ``git@host:path`` and ``user:password@host`` are none."""

# What looks like a top-level domain and ends a file's name: logo@2x.png, bootstrap@5.min.js.
_NO_DOMAIN: Final = frozenset(
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "mjs", "ts", "tsx", "jsx", "json", "map",
     "txt", "pdf", "html", "htm", "xml", "yml", "yaml", "toml", "lock", "gz", "zip", "py", "rb", "go", "rs",
     "java", "php", "sh", "sql", "csv", "mp3", "mp4", "woff", "ttf"]
)  # fmt: skip

PHONE: Final = re.compile(r"(?<![\w.+/:-])[+(]?\d[\d ()./-]{5,24}\d(?:\s?(?:x|ext\.?|#)\s?\d{1,6})?(?![\w@])")
_ISO_DATE: Final = re.compile(
    r"(?:19|20)\d\d[-/. ]\d{1,2}[-/. ]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)?\d\d"
)
_GROUPED: Final = re.compile(
    r"\(\d{2,5}\)[ -]?\d.*"
    r"|(?:1[-. ])?\(?\d{3}\)?[-. ]{1,2}\d{3}[-. ]\d{4}.*"
    r"|0\d{1,5}[ /.-]+\d{2,}.*|0\d(?:[ .]\d\d){4}|0\d{9,10}"
    r"|[5-9]\d{2}[ ]\d{3}[ ]\d{3}"
)
"""How people group telephone numbers: an area in brackets, the North American plan, a trunk zero, Spain and
Poland."""

REGIONS: Final = (
    "US", "GB", "DE", "FR", "IT", "ES", "NL", "BE", "AT", "CH", "SE", "PL", "PT", "BR", "MX", "AR", "IN",
    "AU", "JP", "ZA", "IE", "TR",
)  # fmt: skip
"""Where a number without a country code is looked for: the plans of some two thirds of the world's lines.
In others, numbers are found with the country code."""


def is_email(text: str) -> bool:
    """Return whether ``text`` is one mail address, bare or in the form ``Name <mailbox>``."""
    found = EMAIL.search(text)
    if found is None or not _mailbox(found):
        return False
    rest = text[: found.start()] + text[found.end() :]
    return not rest or (text.endswith(">") and len(rest) < 80) or rest == "mailto:"


def has_email(text: str) -> bool:
    """Return whether a mail address stands anywhere in ``text``."""
    if "@" not in text:
        return False
    return any(_mailbox(found) for found in EMAIL.finditer(text))


def _mailbox(found: re.Match[str]) -> bool:
    if found[2].lower() in _NO_DOMAIN:
        return False
    # scheme://user:password@host: a login, which is not told here.
    before = found.string[max(0, found.start() - 80) : found.start()].rsplit(maxsplit=1)[-1:]
    return not (before and before[0].endswith(":") and "://" in before[0])


def is_international(text: str) -> bool:
    """Return whether ``text`` is a telephone number with its country code."""
    if not text.startswith(("+", "00")) or PHONE.fullmatch(text) is None:
        return False
    phones = _phones()
    try:
        # The trunk zero that people put in brackets behind the country code is not dialled with it.
        number = phones.parse("+" + text.lstrip("+0").replace("(0)", ""), None)
    except phones.NumberParseException:
        return False
    return bool(phones.is_possible_number(number) and len(str(number.national_number)) >= 6)


def regions(text: str) -> frozenset[str]:
    """Return where ``text``, grouped as people group telephone numbers, is a valid one."""
    return frozenset(_regions(text)) if is_grouped(text) else frozenset()


def _regions(text: str) -> Iterator[str]:
    phones = _phones()
    for region in REGIONS:
        try:
            number = phones.parse(text, region)
        except phones.NumberParseException:
            continue
        if phones.is_valid_number_for_region(number, region):
            yield region


def is_grouped(text: str) -> bool:
    """Return whether ``text`` is written as a telephone number is, and not as a date is."""
    return (
        len(text) <= 40
        and 7 <= sum(map(str.isdigit, text)) <= 17
        and PHONE.fullmatch(text) is not None
        and _GROUPED.fullmatch(text) is not None
        and _ISO_DATE.fullmatch(text) is None
    )


def has_phone(text: str) -> bool:
    """Return whether a telephone number stands in ``text``, written so that it can be nothing else."""
    for found in PHONE.finditer(text):
        number = found[0].strip()
        if is_international(number) and sum(map(str.isdigit, number)) >= 9:
            return True
        if any(mark in number for mark in "-( ./") and is_grouped(number) and any(_regions(number)):
            return True
    return False


def _phones() -> ModuleType:
    import phonenumbers  # noqa: PLC0415 - large, and needed by few columns

    return phonenumbers


_IP: Final = re.compile(r"([0-9.]{7,15}|[0-9A-Fa-f:.]{3,45})(?:/\d{1,3}|:\d{1,5})?")


def is_ip(text: str) -> bool:
    """Return whether ``text`` is an IP address, with a prefix length or a port or without."""
    if len(text) > 60 or not ("." in text or ":" in text):
        return False
    found = _IP.fullmatch(text)
    if found is None:
        return False
    try:
        if "." in found[1] and ":" not in found[1]:
            return IPv4Address(found[1]) != IPv4Address(0)
        # Two colons at least are in every IPv6 address; a time of day has them too, with digits alone.
        return text.count(":") > 1 and not re.fullmatch(r"[\d:.]+", text) and bool(IPv6Address(found[1]))
    except (AddressValueError, ValueError):
        return False


def not_a_version(text: str) -> bool:
    """Return whether an IP address has a number that versions hardly reach, or is no IPv4 address at all."""
    parts = re.split(r"[./:]", text)[:4]
    return ":" in text[:5] or any(part.isdigit() and int(part) >= 64 for part in parts)


MAC: Final = re.compile(
    r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)
"""EUI-48 in the notations of IEEE 802 (colons, hyphens) and of Cisco."""

_LATITUDE: Final = r"[-+]?(?:[0-8]?\d|90)\.\d{3,}"
COORDINATES: Final = re.compile(
    rf"\(?{_LATITUDE}\s*[,; ]\s*[-+]?(?:1[0-7]\d|0?\d?\d|180)\.\d{{3,}}\)?"
    r"|(?:SRID=\d+;)?POINT\s?Z?\s?\([-+\d. ]+\)|geo:[-\d.]+,[-\d.]+\S*"
)
"""Degrees with three decimals or more, a hundred metres; well-known text; RFC 5870."""

_STREET: Final = (
    "street st avenue ave road rd boulevard blvd lane ln drive dr court ct place pl square sq terrace"
    " ter highway hwy parkway pkwy circle cir trail trl way close crescent mews row plaza loop alley"
    " crossing run ridge pike turnpike expressway freeway point path walk glen grove hill island"
    " isle junction knoll lake landing manor meadow mountain park pass pine port ranch rapid rest river"
    " route shore shoal skyway spring spur station stream summit union valley via view village ville"
    " vista well annex arcade bayou bend bluff branch bridge brook burg bypass camp canyon cape causeway"
    " center centre cliff common corner course cove creek crest crossroad curve dale divide estate"
    " extension fall ferry field ford forest forge fork fort garden gateway green harbor haven heights"
    " hollow inlet key land locks lodge mall mill mission motorway mount neck orchard oval overpass"
    " passage plain prairie radial ramp throughway trace track trafficway trailer tunnel underpass viaduct"
)
"""The street suffixes of USPS Publication 28, appendix C1, and the British ones; each may be a plural."""
_STREET_ROMANCE: Final = (
    "rue avenue av chemin impasse allée allee quai cours place boulevard calle avenida avda paseo"
    " plaza camino carrera pasaje rambla glorieta ronda urbanización via viale piazza corso vicolo"
    " largo strada contrada borgo rotonda stretto rua travessa praça praca estrada rodovia alameda"
    " ulica ul al aleja plac callejón cuesta travesía carretera pasadizo ladeira vila largo parque"
    " residencial jardim conjunto loteamento setor chácara sítio fazenda recanto canale"
)
_STREET_TAIL: Final = (
    "straße strasse str weg platz allee gasse ring damm ufer chaussee steig straat laan plein kade singel"
    " gracht gatan vägen gata vej gade veien tie katu boulevard hof dreef baan pad gränd stigen"
)
STREET: Final = re.compile(
    rf"\d{{1,6}}[a-z]?(?:[ ][\w.'-]+){{1,4}}?[ ](?:{'|'.join(_STREET.split())})s?\b\.?.*"
    rf"|(?:flat|studio|unit|apartment|apt\.?)[ ]\d{{1,4}}[a-z]?[,\s]+(?:[\w.'-]+[ ]){{1,4}}"
    rf"(?:{'|'.join(_STREET.split())})s?\b\.?.*"
    rf"|(?:{'|'.join(_STREET_ROMANCE.split())})\b\.?[ ][^\d]{{3,60}}\d.*"
    rf"|\d{{1,5}},?[ ]?(?:bis|ter)?,?[ ](?:{'|'.join(_STREET_ROMANCE.split())})\b\.?[ ].*"
    rf"|(?:[\w.'-]+[ ]){{0,3}}[\w.'-]*(?:{'|'.join(_STREET_TAIL.split())})\.?[ ]\d{{1,5}}[ ]?[a-z]?\b.*"
    r"|(?:p\.?[ ]?o\.?[ ]?box|postfach|apartado|caixa postal)[ ]\d+.*",
    re.IGNORECASE | re.DOTALL,
)
"""A house number and a word for a street, in the order of each language, or a post box."""
