"""How claims become subject, groups and kind: well-known issuers, and what a policy file says."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from governed_db import Issuer, PolicyError, TokenRefused, Verifier
from governed_db.identity.mapping import Condition
from governed_db.identity.providers import PROVIDERS
from governed_db.policy import load_bytes

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
JWKS = json.dumps({"keys": [{**PUBLIC, "kid": "k"}]})
URL = "https://issuer.example"


def keys(use: str = "") -> dict[str, Any]:
    return {"keys": [{**PUBLIC, "kid": "k", **({"use": use} if use else {})}]}


def token(said: dict[str, Any], url: str | None = URL, **header: Any) -> str:
    now = int(time.time())
    named = {"iss": url, "aud": "api", "sub": "u-1", "exp": now + 300, "iat": now} | said
    named = {claim: value for claim, value in named.items() if value is not None}
    return jwt.encode(named, KEY, "ES256", headers={"kid": "k", **header})


def caller(provider: str, said: dict[str, Any], **changes: Any) -> str:
    issuer = Issuer(**{"url": URL, "audience": "api", "provider": provider, "jwks": keys(), **changes})
    who = Verifier(issuer).verify(token(said, issuer.url if issuer.url != "spiffe://acme.example" else None))
    return f"{who} {sorted(who.groups)}"


KINDS = [
    ("", {}, "unknown:u-1 []"),
    ("", {"groups": ["dba"], "gty": "client-credentials", "scp": "x"}, "unknown:u-1 []"),
    ("okta", {"sub": "anna", "uid": "00u1", "cid": "0oa1", "groups": ["dba"]}, "human:anna ['dba']"),
    ("okta", {"sub": "0oa1", "cid": "0oa1", "scp": ["jobs"]}, "service:0oa1 []"),
    ("okta", {}, "unknown:u-1 []"),
    ("entra", {"oid": "o-1", "scp": "x", "groups": ["g"], "roles": ["R"]}, "human:o-1 ['R', 'g']"),
    ("entra", {"oid": "o-1", "idtyp": "user"}, "human:o-1 []"),
    ("entra", {"oid": "o-2", "idtyp": "app", "roles": ["Jobs"]}, "service:o-2 ['Jobs']"),
    ("entra", {"oid": "o-2", "idtyp": "app", "scp": "x"}, "service:o-2 []"),
    ("entra", {"oid": "o-3", "roles": ["Jobs"]}, "unknown:o-3 ['Jobs']"),
    ("auth0", {"sub": "auth0|507f1f77"}, "human:auth0|507f1f77 []"),
    ("auth0", {"sub": "google-oauth2|1"}, "human:google-oauth2|1 []"),
    ("auth0", {"sub": "abc@clients", "gty": "client-credentials"}, "service:abc@clients []"),
    ("auth0", {"sub": "abc@clients"}, "service:abc@clients []"),
    ("auth0", {"sub": "|x"}, "unknown:|x []"),
    ("google", {"sub": "1", "email": "anna@acme.example", "hd": "acme.example"}, "human:1 []"),
    ("google", {"sub": "2", "email": "job@shop.iam.gserviceaccount.com"}, "service:2 []"),
    ("google", {"sub": "3"}, "unknown:3 []"),
    (
        "keycloak",
        {"preferred_username": "anna", "realm_access": {"roles": ["dba"]}, "groups": ["/staff"]},
        "human:u-1 ['/staff', 'dba']",
    ),
    ("keycloak", {"preferred_username": "service-account-jobs"}, "service:u-1 []"),
    ("keycloak", {}, "unknown:u-1 []"),
    ("kubernetes", {"sub": "system:serviceaccount:shop:jobs"}, "service:system:serviceaccount:shop:jobs []"),
    ("kubernetes", {"sub": "system:node:n-1"}, "unknown:system:node:n-1 []"),
    ("spiffe", {"sub": "spiffe://acme.example/jobs"}, "service:spiffe://acme.example/jobs []"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "said", "expected"), KINDS)
def test_tokens_of_well_known_issuers(provider, said, expected):
    assert caller(provider, said) == expected


def test_no_provider_takes_a_token_without_a_sign_for_a_person():
    for provider in PROVIDERS:
        said = {"sub": "spiffe://acme.example/x" if provider == "spiffe" else "x", "oid": "x"}
        assert not caller(provider, said).startswith("human")


@pytest.mark.parametrize("named", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
def test_groups_that_are_too_many_are_not_none(named):
    said = {"oid": "o-1", "scp": "x", **named}
    with pytest.raises(TokenRefused, match=r"identity\.token\.groups"):
        caller("entra", said)
    assert caller("google", {"email": "a@acme.example", **named}) == "human:u-1 []"  # it reads none


SPIFFE = {"url": "spiffe://acme.example", "jwks": keys("jwt-svid")}


def test_a_trust_bundle_vouches_for_its_own_domain():
    assert caller("spiffe", {"sub": "spiffe://acme.example/jobs"}, **SPIFFE).startswith("service:spiffe://")
    for subject in (
        "spiffe://evil.example/jobs",
        "spiffe://acme.example.evil/x",
        "spiffe://acme.example@evil/x",
    ):
        with pytest.raises(TokenRefused, match=r"identity\.token\.issuer"):
            caller("spiffe", {"sub": subject}, **SPIFFE)
    for subject in ("spiffe://acme.example/x?admin", "spiffe://acme.example/x#y", "spiffe://["):
        with pytest.raises(TokenRefused):
            caller("spiffe", {"sub": subject}, **SPIFFE)
    # Keys for certificates sign no tokens, and neither do those that say nothing.
    for use in ("x509-svid", "sig", ""):
        with pytest.raises(TokenRefused, match=r"identity\.token\.key"):
            caller("spiffe", {"sub": "spiffe://acme.example/jobs"}, url=SPIFFE["url"], jwks=keys(use))


def test_conditions():
    claims = {"a": {"b": ["x", "y"], "c": True, "n": 1, "none": None}, "k.d": "z", "t": "text"}
    for condition, path in [
        (Condition(where=((("a", "b"), ("y",)),)), ""),
        (Condition(where=((("a", "b"), ("z", "x*")),)), ""),
        (Condition(where=((("a", "b"), ("z",)),)), "a.b"),
        (Condition(where=((("a", "c"), (True,)),)), ""),
        (Condition(where=((("a", "c"), (1,)),)), "a.c"),
        (Condition(where=((("a", "c"), ("True",)),)), "a.c"),
        (Condition(where=((("a", "n"), (True,)),)), "a.n"),
        (Condition(where=((("a", "n"), (1,)),)), ""),
        (Condition(where=((("k.d",), ("z",)),)), ""),
        (Condition(where=((("k", "d"), ("z",)),)), "k.d"),
        (Condition(where=((("t", "e"), ("*",)),)), "t.e"),
        (Condition(present=(("a", "c"),)), ""),
        (Condition(present=(("a", "none"),)), "a.none"),
        (Condition(absent=(("a", "none"), ("q",))), ""),
        (Condition(absent=(("t",),)), "t"),
    ]:
        assert condition.unmet(claims) == path, condition


def policy(text: str) -> Any:
    return load_bytes(f"extends = 'standard'\n{text}".encode(), "p.toml").settings


def verifier_of(text: str) -> Verifier:
    head = f"[[issuer]]\nurl = '{URL}'\naudience = 'api'\njwks = {{ keys = [{toml(keys()['keys'][0])}] }}\n"
    return Verifier(*policy(head + text).issuers)


def toml(table: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = '{value}'" for key, value in table.items()) + " }"


def test_a_policy_says_how_claims_are_read():
    verifier = verifier_of(
        """
        where = { hd = "acme.example", realm.level = [1, 2], verified = true }
        subject = "account.name"
        groups = [["https://acme.example/groups"], ["realm", "roles"]]
        kinds = [
            { kind = "service", where = { gty = "client-credentials" } },
            { kind = "human", present = ["email"], absent = [["amr", "bot"]] },
        ]
        actors = [{ kind = "agent", where = { sub = "bot-*" } }]
        """
    )
    good = {
        "hd": "acme.example",
        "verified": True,
        "realm": {"level": 2, "roles": ["dba"]},
        "https://acme.example/groups": ["staff"],
        "account": {"name": "anna"},
        "email": "anna@acme.example",
        "act": {"sub": "bot-1"},
    }
    who = verifier.verify(token(good))
    assert str(who) == "agent:bot-1 for human:anna"
    assert who.on_behalf_of.groups == {"dba", "staff"}
    assert str(verifier.verify(token(good | {"gty": "client-credentials", "act": None}))) == "service:anna"
    assert str(verifier.verify(token(good | {"email": None, "act": None}))) == "unknown:anna"
    for bad in ({"hd": "x"}, {"verified": "true"}, {"realm": {"level": 3}}, {"realm": 1}):
        with pytest.raises(TokenRefused, match=r"identity\.token\.claims"):
            verifier.verify(token(good | bad))


def test_rules_of_a_policy_come_before_those_of_the_provider():
    own = "provider = 'keycloak'\nactor = 'azp'\nkinds = [{ kind = 'agent', where = { azp = 'bot' } }]"
    verifier = verifier_of(own)
    assert str(verifier.verify(token({"azp": "bot", "preferred_username": "anna"}))) == "agent:u-1"
    assert (
        str(verifier.verify(token({"azp": "web", "preferred_username": "anna"})))
        == "unknown:web for human:u-1"
    )
    verifier = verifier_of("provider = 'keycloak'\nkind = 'service'")
    assert str(verifier.verify(token({"preferred_username": "anna"}))) == "service:u-1"


def test_all_of_it_is_in_the_digest_and_nothing_of_it_in_presets():
    one = load_bytes(f"extends = 'standard'\n[[issuer]]\nurl = '{URL}'\naudience = 'a'".encode(), "p")
    two = load_bytes(f"extends = 'standard'\n[[issuer]]\nurl = '{URL}'\naudience = 'b'".encode(), "p")
    none = load_bytes(b"extends = 'standard'", "p")
    assert len({one.version, two.version, none.version}) == 3
    assert none.settings.issuers == ()
    assert none.settings.callers.require == "nobody"


def test_the_plain_settings_of_an_issuer():
    (found,) = policy(
        f"""
        [[issuer]]
        url = '{URL}'
        audience = ['api', 'shop']
        algorithms = 'ES256'
        typ = 'application/AT+jwt'
        azp = 'web'
        leeway = 5
        max_age = 60
        keys_lifetime = 30
        keys_stale = 0
        timeout = 1.5
        jwks = '/run/keys.json'
        ca = '/run/ca.pem'
        bearer_file = '/run/token'
        """
    ).issuers
    assert (found.audience, found.algorithms, found.types, found.parties) == (
        ("api", "shop"), ("ES256",), ("at+jwt",), ("web",),
    )  # fmt: skip
    assert (found.leeway, found.max_age, found.keys_lifetime, found.keys_stale, found.timeout) == (
        5, 60, 30, 0, 1.5,
    )  # fmt: skip
    assert [str(p) for p in (found.jwks, found.ca, found.bearer_file)] == [
        "/run/keys.json", "/run/ca.pem", "/run/token",
    ]  # fmt: skip


BASE = f"[[issuer]]\nurl = '{URL}'\naudience = 'api'\n"
MISTAKES = [
    ("[issuer]\nurl = 'https://x.example'", "an array of tables"),
    ("[[issuer]]\naudience = 'x'", "no 'url'"),
    (f"[[issuer]]\nurl = '{URL}'", "no 'audience'"),
    (BASE + BASE, "named twice"),
    (BASE + "algorithm = 'ES256'", "did you mean 'algorithms'"),
    (BASE + "algorithms = ['HS256']", "and nothing else"),
    (BASE + "provider = 'octopus'", "unknown provider"),
    (BASE + "leeway = 601", "from 0 to 600"),
    (BASE + "leeway = true", "from 0 to 600"),
    (BASE + "keys_lifetime = 0", "from 1 to 86400"),
    (BASE + "jwks = 'keys.json'", "absolute path"),
    (BASE + "jwks = 'http://issuer.example/keys'", "https"),
    (BASE + "jwks = { keys = [] }", "none of these keys"),
    (BASE + "jwks = { key = [] }", "no list 'keys'"),
    (BASE + "ca = 'ca.pem'", "absolute path"),
    (BASE + "kind = 'robot'", "unknown word 'robot'"),
    (BASE + "kind = 'human'\nkinds = [{ kind = 'human' }]", "take one"),
    (BASE + "kinds = [{ where = { a = 'b' } }]", "no 'kind'"),
    (BASE + "kinds = [{ kind = 'human', were = { a = 'b' } }]", "did you mean 'where'"),
    (BASE + "where = {}", "holds always"),
    (BASE + "where = { a = 1.5 }", "a whole number"),
    (BASE + "where = { a = [] }", "a whole number"),
    (BASE + "where = { a = { } }", "holds always"),
    (BASE + "subject = ''", "is empty"),
    (BASE + "subject = 'a..b'", "written a.b"),
    (BASE + "groups = 7", "array of strings"),
    (BASE + "groups = [7]", "a string"),
    (BASE + "audience = []", "TOML"),
    ("[[issuer]]\nurl = 'http://issuer.example'\naudience = 'a'", "https"),
    ("[callers]\nrequire = 'names'", "unknown word 'names'"),
    ("[callers]\nverified = [{}]", "without any condition"),
    ("[callers]\nverified = [{ kind = ['robot'] }]", "unknown word 'robot'"),
    ("[callers]\nleeway = 601", "from 0 to 600"),
    ("[callers]\nrequired = 'named'", "did you mean 'require'"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_mistakes_are_named_with_their_place(text, words):
    with pytest.raises(PolicyError) as caught:
        policy(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("p.toml:")
