"""Which tokens are believed, and which are not, with a rule for each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from governed_db import Identity, Issuer, TokenRefused, Verifier
from governed_db.identity import compact
from governed_db.identity.delegation import MAX_ACTORS, MAX_GROUPS
from governed_db.identity.mapping import Condition, KindRule, Mapped
from governed_db.identity.model import MAX_NAME

URL = "https://issuer.example"
OTHER = "https://other.example"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)
P256, P384, P521 = (ec.generate_private_key(c()) for c in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
STRANGER = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ED448 = ed448.Ed448PrivateKey.generate()


def published(key: Any, **members: Any) -> dict[str, Any]:
    public = key.public_key()
    kind = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
    name = "RSA" if isinstance(key, rsa.RSAPrivateKey) else "EC"
    name = "OKP" if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else name
    return {**kind[name].to_jwk(public, as_dict=True), **members}


KEYS = {
    "keys": [
        published(RSA_KEY, kid="rsa", use="sig"),
        published(P256, kid="p256", use="sig", alg="ES256"),
        published(P384, kid="p384"),
        published(P521, kid="p521", key_ops=["verify"]),
        published(ED, kid="ed"),
        published(ED448, kid="ed448", alg="Ed448"),
        published(RSA_KEY, kid="pss", alg="PS256"),
        published(SMALL, kid="small"),
        published(P256, kid="encrypts", use="enc"),
        published(P256, kid="wraps", key_ops=["wrapKey"]),
        {**published(P256, kid="leaked"), "d": "AAAA"},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": 7, "e": "AQAB"},
        "not a key",
    ]
}
OTHER_KEYS = {"keys": [published(STRANGER, kid="theirs")]}


def issuer(**changes: Any) -> Issuer:
    described = {"url": URL, "audience": "api", "jwks": KEYS, "mapped": Mapped(groups=(("groups",),))}
    return Issuer(**{**described, **changes})


VERIFIER = Verifier(issuer(), Issuer(url=OTHER, audience="api", jwks=OTHER_KEYS))


def claims(**changes: Any) -> dict[str, Any]:
    at = int(time.time())
    said = {"iss": URL, "sub": "u-1", "aud": "api", "iat": at, "exp": at + 300, **changes}
    return {name: value for name, value in said.items() if value is not None}


def signed(said: dict[str, Any] | None = None, key: Any = P256, alg: str = "ES256", **header: Any) -> str:
    names = {"kid": "p256", **header}
    said = claims() if said is None else said
    return jwt.encode(said, key, alg, headers={k: v for k, v in names.items() if v is not None})


def part(document: Any) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refusal(token: str | bytes, verifier: Verifier = VERIFIER) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        verifier.verify(token)
    return caught.value


@pytest.mark.parametrize(
    ("key", "alg", "kid"),
    [
        (RSA_KEY, "RS256", "rsa"),
        (RSA_KEY, "RS512", "rsa"),
        (RSA_KEY, "PS384", "rsa"),
        (RSA_KEY, "PS256", "pss"),
        (P256, "ES256", "p256"),
        (P384, "ES384", "p384"),
        (P521, "ES512", "p521"),
        (ED, "EdDSA", "ed"),
        (ED448, "EdDSA", "ed448"),
        (P256, "ES256", None),
    ],
)
def test_genuine_tokens_name_a_verified_caller(key, alg, kid):
    said = claims(groups=["dba", "staff"], jti="t-1")
    found = VERIFIER.examine(signed(said, key, alg, kid=kid))
    assert found.identity == Identity(
        kind="unknown",
        subject="u-1",
        groups=("dba", "staff"),
        issuer=URL,
        verified=True,
        expires=found.identity.expires,
    )
    assert found.identity.expires.timestamp() == said["exp"]
    assert (found.issuer, found.token_id, found.key_id) == (URL, "t-1", kid or "p256")


def test_bytes_and_what_is_known_of_the_call():
    caller = Identity.from_token(signed().encode(), VERIFIER, session="s", tool_call="c", purpose="why")
    assert (caller.session, caller.tool_call, caller.purpose, caller.verified) == ("s", "c", "why", True)
    with pytest.raises(TypeError):
        Identity.from_token(signed(), VERIFIER, verified=True)  # type: ignore[call-arg]


async def test_async_says_the_same():
    assert (await Identity.afrom_token(signed(), VERIFIER, mcp_session="m")).mcp_session == "m"
    with pytest.raises(TokenRefused):
        await Identity.afrom_token(signed(key=STRANGER), VERIFIER)


def unsigned() -> str:
    return f"{part({'alg': 'none'})}.{part(claims())}."


def confused(text: bytes) -> str:
    """Return a token whose "secret" is a public key, as everybody knows it."""
    head = f"{part({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{part(claims())}"
    return f"{head}.{part(hmac.new(text, head.encode(), hashlib.sha256).digest())}"


PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def now() -> int:
    """The time of the test, not that of the collection: minutes can lie between."""
    return int(time.time())


LATIN, TWICE = b'{"alg":"\xe9"}', b'{"alg":"none","alg":"ES256"}'
HEADER = part({"alg": "ES256", "kid": "p256"})

BAD = {
    "none": (unsigned, "algorithm"),
    "none in capitals": (lambda: f"{part({'alg': 'NONE'})}.{part(claims())}.", "algorithm"),
    "no algorithm": (lambda: f"{part({})}.{part(claims())}.AAAA", "algorithm"),
    "an algorithm that is a list": (lambda: f"{part({'alg': ['ES256']})}.{part(claims())}.AAAA", "algorithm"),
    "a public key as secret": (lambda: confused(PEM), "algorithm"),
    "a set of keys as secret": (lambda: confused(json.dumps(KEYS["keys"][0]).encode()), "algorithm"),
    "a shared secret": (
        lambda: jwt.encode(claims(), "secretsecretsecretsecretsecret12", "HS256", headers={"kid": "shared"}),
        "algorithm",
    ),
    "unsigned": (lambda: signed().rpartition(".")[0] + ".", "signature"),
    "of a stranger": (lambda: signed(key=STRANGER), "signature"),
    "of a stranger, no key named": (lambda: signed(key=STRANGER, kid=None), "signature"),
    "the key of another issuer": (lambda: signed(key=STRANGER, kid="theirs"), "key"),
    "our key for another issuer": (lambda: signed(claims(iss=OTHER)), "key"),
    "another issuer's key under our name": (lambda: signed(claims(iss=OTHER), kid="theirs"), "signature"),
    "an unknown key": (lambda: signed(kid="nobody"), "key"),
    "a key that encrypts": (lambda: signed(kid="encrypts"), "key"),
    "a key that wraps": (lambda: signed(kid="wraps"), "key"),
    "a key that is published with its private half": (lambda: signed(kid="leaked"), "key"),
    "a secret in the set": (lambda: signed(kid="shared"), "key"),
    "a key that is too small": (lambda: signed(key=RSA_KEY, alg="RS256", kid="small"), "key"),
    "a key that is none": (lambda: signed(kid="broken"), "key"),
    "RSA said, EC meant": (lambda: signed(key=RSA_KEY, alg="RS256", kid="p256"), "algorithm"),
    "EC said, RSA meant": (lambda: signed(kid="rsa"), "algorithm"),
    "EC said, Edwards meant": (lambda: signed(kid="ed"), "algorithm"),
    "Edwards said, EC meant": (lambda: signed(key=ED, alg="EdDSA", kid="p256"), "algorithm"),
    "ES256 with P-384": (lambda: signed(kid="p384"), "algorithm"),
    "ES384 with P-256": (lambda: signed(key=P384, alg="ES384"), "algorithm"),
    "PKCS1 with a key for PSS": (lambda: signed(key=RSA_KEY, alg="RS256", kid="pss"), "algorithm"),
    "an extension that is critical": (lambda: signed(crit=["b64"], b64=True), "critical"),
    "a payload that is not encoded": (
        lambda: f"{part({'alg': 'ES256', 'b64': False})}.{part(claims())}.AAAA",
        "critical",
    ),
    "a logout token": (lambda: signed(typ="logout+jwt"), "type"),
    "a proof of possession": (lambda: signed(typ="dpop+jwt"), "type"),
    "a type that is a number": (lambda: signed(typ=7), "type"),
    "an issuer that nobody named": (lambda: signed(claims(iss="https://evil.example")), "issuer"),
    "an issuer with a slash more": (lambda: signed(claims(iss=URL + "/")), "issuer"),
    "an issuer in capitals": (lambda: signed(claims(iss=URL.upper())), "issuer"),
    "no issuer": (lambda: f"{HEADER}.{part(claims(iss=None))}.AAAA", "issuer"),
    "an issuer that is a list": (lambda: f"{HEADER}.{part({**claims(), 'iss': [URL]})}.AAAA", "issuer"),
    "expired": (lambda: signed(claims(exp=now() - 61)), "expired"),
    "expired long ago": (lambda: signed(claims(exp=0)), "expired"),
    "not yet": (lambda: signed(claims(nbf=now() + 400)), "early"),
    "from the future": (lambda: signed(claims(iat=now() + 400)), "early"),
    "no expiry": (lambda: signed(claims(exp=None)), "malformed"),
    "an expiry in words": (lambda: signed(claims(exp="tomorrow")), "malformed"),
    "an expiry that is true": (lambda: signed(claims(exp=True)), "malformed"),
    "an expiry beyond all calendars": (lambda: signed(claims(exp=10**30)), "malformed"),
    "an expiry that is infinite": (lambda: signed_text('{"iss":"%s","exp":1e999}' % URL), "malformed"),  # noqa: UP031
    "an expiry that is no number": (lambda: signed_text('{"iss":"%s","exp":NaN}' % URL), "malformed"),  # noqa: UP031
    "a beginning in words": (lambda: signed(claims(nbf="now")), "malformed"),
    "another audience": (lambda: signed(claims(aud="shop")), "audience"),
    "other audiences": (lambda: signed(claims(aud=["shop", "API"])), "audience"),
    "a part of the audience": (lambda: signed(claims(aud="ap")), "audience"),
    "no audience in the list": (lambda: signed(claims(aud=[])), "audience"),
    "no audience": (lambda: signed(claims(aud=None)), "malformed"),
    "an audience that is an object": (lambda: signed(claims(aud={"api": 1})), "malformed"),
    "an audience with a number": (lambda: signed(claims(aud=["api", 1])), "malformed"),
    "nobody": (lambda: signed(claims(sub=None)), "subject"),
    "an empty name": (lambda: signed(claims(sub="")), "subject"),
    "a name that is a number": (lambda: signed_text(json.dumps(claims(sub=7))), "subject"),
    "a name with a NUL": (lambda: signed(claims(sub="u\0admin")), "subject"),
    "a name with an escape sequence": (lambda: signed(claims(sub="u\x1b[2J")), "subject"),
    "a name with half a character": (lambda: signed(claims(sub="u\ud800")), "subject"),
    "a name that reads backwards": (lambda: signed(claims(sub="u\u202enimda")), "subject"),
    "a name without end": (lambda: signed(claims(sub="u" * (MAX_NAME + 1))), "subject"),
    "groups that are a number": (lambda: signed(claims(groups=7)), "groups"),
    "groups that are numbers": (lambda: signed(claims(groups=["dba", 7])), "groups"),
    "a group with a line break": (lambda: signed(claims(groups=["dba\n"])), "groups"),
    "groups without end": (
        lambda: signed(claims(groups=[f"{n:x}" for n in range(MAX_GROUPS + 1)])),
        "groups",
    ),
    "groups that are elsewhere": (lambda: signed(claims(_claim_names={"groups": "src1"})), "groups"),
    "groups that are not told": (lambda: signed(claims(hasgroups=True)), "groups"),
    "groups that may be elsewhere": (lambda: signed(claims(_claim_names="src1")), "groups"),
    "an actor that is text": (lambda: signed(claims(act="bot")), "actor"),
    "an actor without a name": (lambda: signed(claims(act={})), "subject"),
    "an actor of another issuer": (lambda: signed(claims(act={"sub": "b", "iss": OTHER})), "actor"),
    "an actor behind of another issuer": (
        lambda: signed(claims(act={"sub": "b", "act": {"sub": "c", "iss": OTHER}})),
        "actor",
    ),
    "actors without end": (lambda: signed(claims(act=nested(MAX_ACTORS + 1))), "actor"),
    "oversized": (lambda: "a" * (compact.MAX_TOKEN + 1), "oversized"),
    "encrypted": (lambda: f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.AA.AA.AA.AA", "encrypted"),
    "empty": (lambda: "", "malformed"),
    "words": (lambda: "not a token", "malformed"),
    "with its scheme": (lambda: f"Bearer {signed()}", "malformed"),
    "with a line break": (lambda: signed() + "\n", "malformed"),
    "truncated in the payload": (lambda: signed()[:100], "malformed"),
    "with a part too many": (lambda: signed() + ".AAAA", "malformed"),
    "with padding": (lambda: signed() + "==", "malformed"),
    "of other letters": (lambda: signed().replace(".", ".é", 1), "malformed"),
    "bytes of no encoding": (lambda: b"\xff.\xff.\xff", "malformed"),
    "a header that is a list": (lambda: f"{part([])}.{part(claims())}.AAAA", "malformed"),
    "a header that is no JSON": (lambda: f"{part(b'{')}.{part(claims())}.AAAA", "malformed"),
    "a header in Latin-1": (lambda: f"{part(LATIN)}.{part(claims())}.AAAA", "malformed"),
    "a payload that is text": (lambda: f"{HEADER}.{part('text')}.AAAA", "malformed"),
    "a payload without end": (lambda: f"{HEADER}.{part(b'[' * 9000)}.AAAA", "malformed"),
    "a claim twice": (lambda: signed_text('{"iss":"%s","sub":"a","sub":"b"}' % URL), "malformed"),  # noqa: UP031
    "a claim twice, further in": (
        lambda: signed_text('{"iss":"%s","act":{"sub":"a","sub":"b"}}' % URL),  # noqa: UP031
        "malformed",
    ),
    "a header that says a thing twice": (
        lambda: f"{part(TWICE)}.{part(claims())}.AAAA",
        "malformed",
    ),
    "a key that is a number": (
        lambda: f"{part({'alg': 'ES256', 'kid': 1})}.{part(claims())}.AAAA",
        "malformed",
    ),
}


def signed_text(payload: str) -> str:
    """Return a token whose payload no JSON library would write."""
    return jwt.PyJWS().encode(payload.encode(), P256, "ES256", headers={"kid": "p256"})


def nested(depth: int) -> dict[str, Any]:
    return {"sub": f"a-{depth}", "act": nested(depth - 1)} if depth > 1 else {"sub": "a-1"}


@pytest.mark.parametrize("name", BAD)
def test_bad_tokens_are_refused_by_name_and_not_quoted(name):
    make, rule = BAD[name]
    token = make()
    error = refusal(token)
    assert error.rule == f"identity.token.{rule}"
    assert error.rule in str(error)
    assert error.remedy
    assert error.retryable is (rule == "early")
    assert ("will not help" in str(error)) is not error.retryable
    text = token.decode("latin-1") if isinstance(token, bytes) else token
    longest = [p for p in text.split(".") if len(p) > 30]
    assert not any(p in f"{error} {error!r} {error.remedy}" for p in longest)
    assert not any(secret in str(error) for secret in ("u-1", "evil.example", "dba", "theirs"))


@pytest.mark.parametrize("name", ["none", "of a stranger", "expired", "oversized", "an unknown key"])
async def test_async_refuses_the_same(name):
    make, rule = BAD[name]
    with pytest.raises(TokenRefused) as caught:
        await VERIFIER.averify(make())
    assert caught.value.rule == f"identity.token.{rule}"


def test_keys_that_a_token_brings_along_are_not_looked_at():
    own = {"jwk": published(STRANGER), "jku": "https://evil.example/keys", "x5u": "https://evil.example/x5u"}
    for header in ({k: v} for k, v in own.items()):
        assert refusal(signed(key=STRANGER, **header)).rule == "identity.token.signature"
        assert VERIFIER.verify(signed(**header)).subject == "u-1"


def test_two_keys_of_one_name_and_many_without_any():
    twins = {
        "keys": [published(P384, kid="p256"), published(STRANGER, kid="p256"), published(P256, kid="p256")]
    }
    assert Verifier(issuer(jwks=twins)).verify(signed()).subject == "u-1"
    nameless = {"keys": [published(STRANGER), published(P256)]}
    assert Verifier(issuer(jwks=nameless)).verify(signed(kid=None)).subject == "u-1"
    assert refusal(signed(), Verifier(issuer(jwks=nameless))).rule == "identity.token.key"


def test_cryptography_and_http_are_loaded_with_the_first_token():
    loaded = "[m for m in ('jwt', 'http.client', 'http.server') if m in sys.modules]"
    script = f"import sys, governed_db; print({loaded})"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"


def test_a_refusal_names_issuer_and_key_where_they_can_be_shown():
    error = refusal(signed(kid="unknown-key"))
    assert (error.issuer, error.key_id) == (URL, "unknown-key")
    assert refusal(signed(kid="line\nbreak")).key_id == ""
    assert refusal(signed(kid="x" * 200)).key_id == ""
    assert refusal(signed(claims(iss="https://evil.example"))).issuer == ""


TOKEN = signed()


@given(place=st.integers(0, len(TOKEN) - 1), letter=st.characters(min_codepoint=0, max_codepoint=255))
def test_whichever_byte_is_altered_it_is_refused(place, letter):
    altered = TOKEN[:place] + letter + TOKEN[place + 1 :]
    if altered != TOKEN:
        refusal(altered)
        refusal(altered.encode("latin-1"))


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_whatever_is_handed_over_is_refused_as_a_token(junk):
    assert refusal(junk).rule == "identity.token.malformed"


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
CLAIMS = ("sub", "aud", "exp", "nbf", "iat", "groups", "act", "_claim_names", "hasgroups", "jti")


@given(st.dictionaries(st.sampled_from(CLAIMS), JSON, max_size=3))
def test_whatever_genuine_claims_hold_there_is_an_identity_or_a_refusal(changed):
    try:
        found = VERIFIER.verify(signed_text(json.dumps(claims() | changed)))
    except TokenRefused:
        return
    assert found.verified
    assert found.subject


def test_only_text_is_a_token():
    with pytest.raises(TypeError):
        VERIFIER.verify(None)  # type: ignore[arg-type]


def test_skew_is_allowed_for_as_far_as_the_leeway_goes():
    tolerant, strict = Verifier(issuer(leeway=120)), Verifier(issuer(leeway=0))
    late = signed(claims(exp=now() - 30))
    soon = signed(claims(nbf=int(time.time()) + 60, iat=int(time.time()) + 60))
    assert tolerant.verify(late)
    assert tolerant.verify(soon)
    assert refusal(late, strict).rule == "identity.token.expired"
    assert refusal(soon, strict).rule == "identity.token.early"


def test_what_one_issuer_can_be_held_to():
    narrow = Verifier(
        issuer(
            algorithms="EdDSA",
            types=("at+jwt",),
            max_age=100,
            parties="web",
            require=Condition(where=((("hd",), ("acme.example",)),)),
        )
    )
    good = {"azp": "web", "hd": "acme.example"}
    header = {"key": ED, "alg": "EdDSA", "kid": "ed"}
    assert narrow.verify(signed(claims(**good), typ="application/at+JWT", **header)).verified
    for said, head, rule in [
        ({}, {"key": P256, "alg": "ES256", "kid": "p256"}, "algorithm"),
        ({}, {"typ": "JWT"}, "type"),
        ({}, {"typ": None}, "type"),
        ({"iat": now() - 200}, {}, "age"),
        ({"iat": None}, {}, "malformed"),
        ({"azp": "phone"}, {}, "party"),
        ({"azp": None}, {}, "party"),
        ({"azp": ["web"]}, {}, "party"),
        ({"hd": "evil.example"}, {}, "claims"),
        ({"hd": None}, {}, "claims"),
    ]:
        token = signed(claims(**{**good, **said}), **{"typ": "at+jwt", **header, **head})
        assert refusal(token, narrow).rule == f"identity.token.{rule}", (said, head)


def test_an_actor_acts_for_the_one_before_and_the_first_for_the_subject():
    kinds = Mapped(
        kinds=(KindRule(kind="human"),),
        actors=(KindRule(kind="agent", when=Condition(where=((("sub",), ("bot-*",)),))),),
        groups=(("groups",),),
    )
    verifier = Verifier(issuer(mapped=kinds))
    act = {"sub": "bot-now", "groups": ["bots"], "act": {"sub": "desk", "act": {"sub": "bot-first"}}}
    caller = verifier.verify(signed(claims(act=act, groups=["staff"], may_act={"sub": "bot-other"})))
    assert str(caller) == "agent:bot-now for unknown:desk for agent:bot-first for human:u-1"
    chain = [caller]
    while chain[-1].on_behalf_of is not None:
        chain.append(chain[-1].on_behalf_of)
    assert all(who.verified and who.issuer == URL and who.expires == caller.expires for who in chain)
    assert [sorted(who.groups) for who in chain] == [["bots"], [], [], ["staff"]]
    assert str(verifier.verify(signed(claims(may_act={"sub": "bot-other"})))) == "human:u-1"
    assert verifier.verify(signed(claims(act=nested(MAX_ACTORS)))).subject == f"a-{MAX_ACTORS}"


def test_a_client_can_be_the_actor_for_a_person_where_the_policy_says_so():
    mapped = Mapped(
        kinds=(
            KindRule(kind="service", when=Condition(where=((("sub",), ("svc-*",)),))),
            KindRule(kind="human"),
        ),
        actors=(KindRule(kind="agent", when=Condition(where=((("sub",), ("copilot",)),))),),
        actor=("azp",),
    )
    verifier = Verifier(issuer(mapped=mapped))
    for said, caller in [
        ({"azp": "copilot"}, "agent:copilot for human:u-1"),
        ({"azp": "other"}, "unknown:other for human:u-1"),
        ({}, "human:u-1"),
        ({"azp": "u-1"}, "human:u-1"),
        ({"sub": "svc-1", "azp": "copilot"}, "service:svc-1"),
        ({"azp": "copilot", "act": {"sub": "tool"}}, "unknown:tool for human:u-1"),
    ]:
        assert str(verifier.verify(signed(claims(**said)))) == caller


def test_issuers_are_named_once_and_can_be_told_apart():
    with pytest.raises(ValueError, match="twice"):
        Verifier(issuer(), issuer())
    with pytest.raises(TokenRefused, match="names no issuer"):
        Verifier().verify(signed())
    assert VERIFIER.verify(signed(claims(iss=OTHER), STRANGER, kid="theirs")).issuer == OTHER
    assert URL in repr(VERIFIER)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"url": "http://issuer.example"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user@issuer.example"}, "url"),
        ({"url": "https://issuer.example?x=1"}, "url"),
        ({"url": "https://issuer.example#x"}, "url"),
        ({"url": "ftp://issuer.example"}, "url"),
        ({"url": "https://issuer.example:port"}, "url"),
        ({"url": "https://issuer.exämple"}, "url"),
        ({"url": "spiffe://acme.example/workload"}, "url"),
        ({"url": "spiffe://acme.example", "jwks": None}, "jwks"),
        ({"jwks": "http://issuer.example/keys"}, "jwks"),
        ({"jwks": "file:///etc/keys"}, "jwks"),
        ({"audience": ()}, "audience"),
        ({"audience": ""}, "audience"),
        ({"algorithms": ("HS256",)}, "algorithms"),
        ({"algorithms": ("none",)}, "algorithms"),
        ({"algorithms": ()}, "algorithms"),
        ({"leeway": 6000}, "leeway"),
        ({"leeway": -1}, "leeway"),
        ({"provider": "octopus"}, "provider"),
    ],
)
def test_issuers_that_cannot_be_relied_on_are_refused(changes, key):
    with pytest.raises(ValueError, match=r"[a-z]") as caught:
        issuer(**changes)
    assert caught.value.key == key  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["http://localhost:8080/realms/x", "http://127.0.0.5", "http://[::1]:9"])
def test_http_is_for_this_machine(url):
    assert issuer(url=url).url == url
