"""How names of old and foreign schemas are spelt: words glued together, shortened, and prefixed.

:func:`read` gives the words of a name as the phrases know them. What is a known word stays as it is. Of the
rest, a word without vowels is the skeleton of a longer one (``GNDR``, ``PHN``), a long one may be glued from
known ones (``customeremail``, ``stundenlohn``), or be the beginning of one (``staatsang``).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from governed_db.masking import phrases as p
from governed_db.masking import words as w
from governed_db.masking.names import normal, tokens, words
from governed_db.masking.spans import PHRASES, Words, matches, tight

_GLUED: Final = 5
"""Letters from which a word may be two: a shorter one splits into particles that mean nothing."""
_PART: Final = 4
"""Letters of a part of a glued word, but for those in _SHORT_PARTS: "percentage" is not percent and age."""
_SHORT_PARTS: Final = frozenset(
    {"id", "nr", "no", "tel", "ip", "zip", "dob", "ssn", "pin", "key", "api", "usr", "pro", "sms", "cod"}
)
_TEXTS: Final = ("comment", "comments", "note", "notes", "remark", "remarks", "bemerkung", "bemerkungen")
"""What people write, whatever it is glued to: ``opacnote``."""
_FRONT: Final = 3
"""Letters before one of _TEXTS that make a word of their own."""
_LINKS: Final = ("", "s", "n", "en", "es", "er")
"""What German and Dutch put between the parts of a compound."""
_CUT: Final = 5
"""Letters from which the beginning of a word stands for the word."""

_ENGLISH: Final = words("""
    account address alias amount annual applicant bank beneficiary birth branch cardholder category cellular
    citizenship claim client comment contact count country county created credit currency customer death debit
    department description director driver email employee employer encrypted ethnicity expiration expiry
    father first gender group guardian guarantor holder income indicator insurance insured invoice joint last
    length level license limit location login maiden manager marital market medical member message method
    middle mobile mother name nationality number occupation order passport password patient payment percent
    person phone physician plate policy postal prescriber price primary product profile property provider
    quantity rating receipt record region registration religion remark routing salary school score second
    secret security sequence series social spouse status street subscriber swift territory text token
    transaction update user vehicle vendor version warehouse weight work
""")
"""What legacy schemas shorten, the harmless ones as well: two words with one skeleton are told apart by
the words beside them, or not at all."""
_ORDINARY: Final = words("""
    accord adult agent allow alert alley allot analog anima anthem appeal applic apply armor artist
    asset audit
    batch beach begin belief beneath board bonus bottom brand bread break brief build carbon career carrier
    cartel cascade catal celeb center chart check china chronic circuit clear clinic close color comma common
    compa compound concept condition confess confirm contra control coordinate country court cover
    credit cross
    custom decor defic defin demand deposit design diagram differ digit direct discard display district doctor
    domain drive driver element emitter enable encode enter entry error event exact exercise expand export
    extern fabric factor famil feature final finding finger first fiscal floor force forum found frame
    frequency
    function gender general generic geometry ground handl health hospital identi image immune impair import
    incident income index indirect inform initial insert instance insure intern invent invest issue
    journal kernel
    kitchen label ledger license limit linked local logic login machine major manage mandate market marriage
    master match matter measure medal media medic member mention merge metric minor model modem monitor mother
    nation native natural normal notif numer object observ occup offer option orbit order origin output owner
    packet panel parent parse parser partial partner party passage passenger patent pattern percent
    period perm
    permit person phase phon photo physic piece pilot place plain plane plant plate point police politic
    portal
    posit postal posture prefer premise present press price prima print prior private probe process profile
    program promo proper protect proxy pseudo publi query quiet quota radio random range rating ratio reader
    record recover refer region regist relig remark remote render report request reset resid resource respon
    result retail return revenue reverse route routine salar sample scale scan schedule school score screen
    script second
    secret section secur select sensor serial server service session setting shape share shift ship sign
    signal signat silver single sketch social source space special speed stand start state station steel
    stock storage store strap street stream string strong studio style subject summary super surge surface
    switch symbol system table target tariff templ tender term terminal test theme thread ticket title topic
    total tower track trade train transit trans treat trial trigger truck trust twitch unique unit
    update upper
    subscribe prescribe disco behind bless caused conditioner dated employ guard insta invalid
    medici minus psycho quest recap reddit
    serve sever strip stripe syndicate where whereas historian
    transparent lieutenant nobody pinpoint keynote notebook bloodline bloodstream footnote banknote
    chattel guidepost bookplate faceplate doorplate mainstreet postcard greenhouse lighthouse courthouse
    townhouse transnational racecourse housewife autopilot headmaster postmaster gamergate licensee
    usage user valid value variant vehicle vector vendor vendo verif version video visit visual voice volum
    volunt voter wallet warning watch weight wheel whole width window wireless worker world write
""")
"""Words in their own right that happen to begin a longer one of ours, or to be made of two."""

_UMLAUTS: Final = (("ae", "a"), ("oe", "o"), ("ue", "u"))
"""How umlauts are written without them; names.tokens folds them to the plain letter."""
_VOWELS: Final = frozenset("aeiou")


def skeleton(word: str) -> str:
    """Return the first letter of ``word`` and the consonants after it, doubled ones once."""
    bones = word[:1]
    for letter in word[1:]:
        if letter not in _VOWELS and letter != bones[-1]:
            bones += letter
    return bones


def _skeletons() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for word in sorted(_ENGLISH):
        for bones in {skeleton(word), skeleton(word).replace("y", "")}:
            if len(bones) > 2:
                found.setdefault(bones, []).append(word)
    return {bones: tuple(made) for bones, made in found.items()}


_BONES: Final = _skeletons()
_PHRASE_WORDS: Final = frozenset(word for phrase in PHRASES for word in phrase if not word.isdigit())
_KNOWN: Final = frozenset().union(
    _PHRASE_WORDS, _ENGLISH, _ORDINARY, w.KNOWN, p.TAIL, p.VETO_TAIL, *p.VETO_HEAD.values(),
    *(frozenset(phrase) for phrase in p.HARMLESS),
)  # fmt: skip
_WHOLE: Final = _KNOWN - frozenset(
    word for word in _PHRASE_WORDS if len(word) < _PART and word not in _SHORT_PARTS
)
_BEGINNINGS: Final = tuple(sorted(word for word in _PHRASE_WORDS if len(word) > _CUT + 1))
_GLUED_FIRST: Final = {
    "".join(phrase): len(phrase[0]) for phrase in PHRASES if len(phrase) > 1 and ("".join(phrase),) in PHRASES
}
"""How long the first word is of what is glued from several: "serve" does not begin a "serverkey"."""


@lru_cache(maxsize=16384)
def read(name: str) -> Words:
    """Return the words of ``name``, each as the phrases know it, connectors left out."""
    return spelt(tokens(name))


@lru_cache(maxsize=16384)
def spelt(parts: Words) -> Words:
    """Return ``parts`` with what is shortened or glued written out."""
    if _KNOWN.issuperset(parts):
        return tight(parts)
    found: list[str] = []
    for part in parts:
        found.extend((part,) if part in _KNOWN or part.isdigit() else _word(part))
    for index, part in enumerate(found):
        if part not in _KNOWN and len(options := _shortened(part)) > 1:
            found[index] = _beside(found, index, options)
    return tight(tuple(found))


def _word(part: str) -> Sequence[str]:
    for spelt_out, letter in _UMLAUTS:
        # Inside of a word alone: "revenue" ends in no umlaut, nor does any German word.
        if (folded := part[:-1].replace(spelt_out, letter) + part[-1:]) != part and folded in _KNOWN:
            return (folded,)
    options = _shortened(part)
    if len(options) == 1:
        return options
    if options or not part.isascii():
        return (part,)
    if part in p.NOT_COMPOUND:
        return (part,)
    if part.endswith("nr") and (f"{part[:-2]}nummer",) in PHRASES:
        return (f"{part[:-2]}nummer",)
    if len(part) >= _GLUED and (glued := _split(part)):
        return glued
    for noun in _TEXTS:
        if part.endswith(noun) and len(part) >= len(noun) + _FRONT:
            return (part.removesuffix(noun), normal(noun))
    if len(part) >= _CUT and (whole := _completed(part)):
        return (whole,)
    return (part,)


def _shortened(part: str) -> tuple[str, ...]:
    """Return the words that ``part`` leaves letters out of: "gendr" is gender, "frost" is not first."""
    return tuple(word for word in _BONES.get(_bones(part), ()) if _leaves_out(part, word))


def _leaves_out(part: str, word: str) -> bool:
    letters = iter(word)
    return all(letter in letters for letter in part)


def _bones(part: str) -> str:
    """Return the skeleton that ``part`` is, one vowel let pass; "" where it is a word with vowels."""
    vowels = sum(letter in _VOWELS for letter in part[1:])
    if len(part) < 3 or vowels > (1 if len(part) > 4 else 0):
        return ""
    return skeleton(part)


def _beside(parts: list[str], index: int, options: Iterable[str]) -> str:
    """Return which of ``options`` makes a phrase with the words beside it; else the word as it stands."""
    for option in options:
        attempt = (*parts[:index], option, *parts[index + 1 :])
        if any(m.start <= index < m.end and m.end - m.start > 1 for m in matches(attempt)):
            return option
    return parts[index]


def _split(part: str) -> Words | None:
    """Return the known words that ``part`` is glued from, the fewest, or ``None``."""
    best: dict[int, Words] = {0: ()}
    for end in range(2, len(part) + 1):
        for start in range(end - 1):
            before = best.get(start)
            if before is None:
                continue
            if (word := _piece(part[start:end], last=end == len(part))) is None:
                continue
            if end not in best or len(before) + 1 < len(best[end]):
                best[end] = (*before, word)
    found = best.get(len(part))
    if found is not None and found[-1] == "ship":
        return None  # leadership, scholarship: what English makes of a person is none
    return found if found is not None and len(found) > 1 else None


def _piece(text: str, *, last: bool) -> str | None:
    for link in _LINKS if not last else ("",):
        word = text.removesuffix(link) if link else text
        if link and word == text:
            continue
        if word in _SHORT_PARTS or (len(word) >= _PART and normal(word) in _WHOLE):
            return normal(word)
    return None


def _completed(part: str) -> str | None:
    """Return the word that ``part`` is the beginning of, where all that begin so mean the same."""
    for ending in _ENDINGS:
        stem = part.removesuffix(ending)
        if ending and stem != part and len(stem) > _CUT and stem in _PHRASE_WORDS:
            return stem
    found = []
    for word in islice(_BEGINNINGS, bisect_left(_BEGINNINGS, part), None):
        if not word.startswith(part):
            break
        if len(part) * 2 >= len(word) - 1 and len(part) > _GLUED_FIRST.get(word, 0) + 1:
            found.append(word)
    if not found:
        return None
    meant = {PHRASES.get((word,)) for word in found}
    return min(found, key=len) if len(meant) == 1 else None


_ENDINGS: Final = ("n", "en", "e", "er", "ne", "es", "i", "a", "u", "y", "ow", "em", "om")
"""Endings of plurals and cases that the phrases do not have."""
_HUNGARIAN: Final = re.compile(
    r"(?:str|lng|int|dtm|dte|bln|cur|mem|txt|dbl|dat|sz|vch|chr|byt|nvc|num|bit|dec|fk|pk|[a-z])(?=[A-Z])"
)
_SHARED: Final = 0.6
"""Part of a table's columns that begin alike, from which the beginning is the table's and says nothing."""
_FEW: Final = 4
"""Columns below which a shared beginning is chance."""


def unprefixed(names: Sequence[str], table: str = "") -> tuple[str, ...]:
    """Return the names of a table's columns without what they share: ``cp_``, ``str``, ``_adh``."""
    if len(names) < _FEW:
        return tuple(names)
    typed = [_HUNGARIAN.match(name) for name in names]
    if sum(m is not None for m in typed) >= _SHARED * len(names) and len({m[0] for m in typed if m}) > 1:
        return tuple(name[m.end() :] if m else name for name, m in zip(names, typed, strict=True))
    own = spelt(tokens(table))
    return _without(_without(tuple(names), _FIRST, own), _LAST, own)


_FIRST: Final = re.compile(r"([^\W_]+)_(?=.)")
_LAST: Final = re.compile(r"(?<=.)_([^\W_]+)$")


def _without(names: tuple[str, ...], part: re.Pattern[str], table: Words) -> tuple[str, ...]:
    found = [part.search(name) if part is _LAST else part.match(name) for name in names]
    common, count = Counter(m[1] for m in found if m).most_common(1)[0] if any(found) else ("", 0)
    if count < _SHARED * len(names) or _tells(tokens(common), table):
        return names
    return tuple(
        name[: m.start()] + name[m.end() :] if m and m[1] == common else name
        for name, m in zip(names, found, strict=True)
    )


def _tells(parts: Words, table: Words) -> bool:
    """Return whether a shared word says whose something is, or what; a table's own word says nothing."""
    return any(
        part in w.PERSON
        or ((part,) in PHRASES and (part,) not in p.NEEDS_PERSON)
        or (part in p.VETO_TAIL and part not in table)
        for part in spelt(parts)
    )
