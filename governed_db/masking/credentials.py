"""Recognise credentials by their form: keys with known prefixes, tokens, password hashes, private keys.

Each form here is one that its issuer has chosen so that it can be recognised; nothing else looks like it.
What merely looks random is told by :func:`opaque`, which is weaker and needs many values.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from typing import Final

API_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS IAM, "Understanding unique ID prefixes"
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}"  # GitHub's token formats
    r"|gl(?:pat|dt|rt|ptt|ft)-[A-Za-z0-9_-]{20,}"  # GitLab's token prefixes
    r"|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"  # Stripe
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"  # Google
    r"|sk-(?:ant-|proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic, OpenRouter
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"  # SendGrid
    r"|key-[0-9a-f]{32}|SK[0-9a-f]{32}"  # Mailgun, Twilio
    r"|(?:npm|hf|dp\.pt|rubygems|shp(?:at|ca|pa|ss)|dop_v1|doo_v1|dckr_pat|lin_api|figd|pul|sbp|re)"
    r"_[A-Za-z0-9_-]{20,}"  # npm, Hugging Face, RubyGems, Shopify, DigitalOcean, Docker, Linear, ...
    r"|pypi-[A-Za-z0-9_-]{50,}|hv[sbr]\.[A-Za-z0-9_-]{20,}|sq0(?:atp|csp)-[A-Za-z0-9_-]{20,}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{50,}|PMAK-[0-9a-f]{24}-[0-9a-f]{34}"
    r"|glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|NRAK-[A-Z0-9]{27}|ATATT3[A-Za-z0-9_=-]{50,}"
    r")"
)
"""Secret keys of services, by the prefixes that their documentation gives to secret scanners."""

_JWT: Final = re.compile(r"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{8,})\.(eyJ[A-Za-z0-9_-]{4,})\.[A-Za-z0-9_-]*")

PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d"
)
"""RFC 7468, section 10 and 11, and the keys of OpenSSH, OpenPGP and PuTTY."""

_PASSWORD_HASH: Final = re.compile(
    r"(?:"
    r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}"  # bcrypt
    r"|\$argon2(?:id|i|d)\$\S+|argon2\$argon2(?:id|i|d)\$\S+"  # PHC string format; Django's
    r"|\$(?:scrypt|pbkdf2(?:-sha(?:1|256|512))?|s0|bcrypt-sha256)\$\S+"
    r"|(?:pbkdf2_sha(?:1|256)|scrypt|bcrypt_sha256|bcrypt|sha1|md5|salted_sha1)\$\S+\$\S+"  # Django
    r"|(?:pbkdf2:sha\d+|scrypt:\d+:\d+:\d+)(?::\d+)?\$\S+\$[0-9a-f]+"  # Werkzeug
    r"|\$(?:1|5|6|7|y|gy|md5|apr1|sm3)\$\S{8,}"  # crypt(5)
    r"|\$[PHS]\$[./A-Za-z0-9]{27,}"  # phpass
    r"|\{(?:S?SHA(?:256|384|512)?|S?MD5|CRYPT|PBKDF2[^}]*|ARGON2|BCRYPT)\}\S{8,}"  # RFC 2307
    r"|SCRAM-SHA-(?:1|256)\$\d+:\S+"  # PostgreSQL, RFC 5803
    r"|\*[0-9A-F]{40}"  # MySQL's mysql_native_password
    r")",
    re.IGNORECASE,
)

_LOGIN_IN_URL: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@?#]{0,64}:[^\s/@?#]{1,128}@[^\s/]|"
    r"\b(?:password|pwd|accountkey|sharedaccesskey)\s*=\s*[^\s;,&'\"]{6,}",
    re.IGNORECASE,
)

_OPAQUE: Final = re.compile(r"[A-Za-z0-9_+/.~=-]{32,128}")
OPAQUE_BITS: Final = 4.0
"""Shannon's entropy per character above which a text of 32 characters or more is taken for random: prose and
identifiers made of words have below 3.9, random base64 of that length 4.4 to 5.6, and hexadecimal digits, of
which digests are made, never above 4."""

_DIGEST_LENGTHS: Final = frozenset({24, 28, 40, 44, 64, 88})
"""Characters of base64, padded, for 16, 20, 28, 32, 48 and 64 bytes: MD5, SHA-1 and the SHA-2 family."""


def is_jwt(text: str) -> bool:
    """Return whether a JSON Web Token stands in ``text``: two parts that decode to JSON (RFC 7519)."""
    found = _JWT.search(text)
    return found is not None and all(_opens_json(found[part]) for part in (1, 2))


def _opens_json(part: str) -> bool:
    try:
        return base64.urlsafe_b64decode(part[: len(part) // 4 * 4]).startswith(b"{")
    except (binascii.Error, ValueError):
        return False


def is_password_hash(text: str) -> bool:
    """Return whether ``text`` is what a password hashing function of a known format puts out."""
    return _PASSWORD_HASH.fullmatch(text) is not None


def has_login(text: str) -> bool:
    """Return whether an address or a connection string with a password stands in ``text``."""
    return _LOGIN_IN_URL.search(text) is not None


def has_private_key(text: str) -> bool:
    """Return whether a private key begins in ``text``."""
    return PRIVATE_KEY.search(text) is not None


def has_api_key(text: str) -> bool:
    """Return whether a key with a prefix of a known issuer stands in ``text``."""
    return API_KEY.search(text) is not None


def opaque(text: str) -> bool:
    """Return whether ``text`` looks like a random token, and neither like an identifier nor like a digest."""
    if _OPAQUE.fullmatch(text) is None or re.match(r"sha\d+[-:=]", text):
        return False
    if not (any(map(str.islower, text)) and any(map(str.isupper, text)) and any(map(str.isdigit, text))):
        return False
    padded = text.endswith("=") or (len(text) % 4 == 0 and ("+" in text or "/" in text))
    if text.count("/") > 4 or text.count(".") > 3 or (padded and len(text) in _DIGEST_LENGTHS):
        return False
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values()) > OPAQUE_BITS
