"""Genuine issuers and genuine tokens that would pass for more than they are, and what is taken of them."""

from __future__ import annotations

import os
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from governed_db import Identity, Issuer, TokenRefused, Verifier
from governed_db.approval.people import same_person
from governed_db.identity import claims, key_source
from governed_db.identity.mapping import Mapped
from governed_db.identity.model import MAX_NAME, MAX_PURPOSE
from governed_db.testing import TokenIssuer
from governed_db.testing.issuer import AUDIENCE, DISCOVERY, send

DOMAIN = "spiffe://acme.example"


class Listening(TokenIssuer):
    """An issuer that notes who shows a token to it, and whose discovery document a test can hold up."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str | None] = []
        self.keys_at = f"{self.url}/keys"
        self.waits = threading.Event()
        self.waits.set()
        self.fails = False

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.shown.append(handler.headers["authorization"])
        self.waits.wait(10)
        if self.fails:
            send(handler, {}, status=503)
        elif handler.path == DISCOVERY:
            send(handler, {"issuer": self.url, "jwks_uri": self.keys_at})
        else:
            super().answer(handler)


@pytest.fixture(scope="module")
def shared():
    with Listening() as running:
        yield running


@pytest.fixture
def issuer():
    with Listening() as running:
        yield running


def verifier(issuer: TokenIssuer, **changes: Any) -> Verifier:
    return Verifier(Issuer(**{"url": issuer.url, "audience": AUDIENCE, **changes}))


def outcome(believes: Verifier, token: str) -> str:
    try:
        return str(believes.verify(token))
    except TokenRefused as error:
        return error.rule.removeprefix("identity.token.")


def bundle(issuer: TokenIssuer) -> dict[str, Any]:
    return {"keys": [{**key, "use": "jwt-svid"} for key in issuer.jwks()["keys"]]}


@pytest.mark.parametrize(
    "path",
    [
        "/", "/a/", "//a", "/a/../b", "/./a", "/a/..", "/%2e%2e/b", "/a b", "/a?", "/a#", "/é", "/a?x",
        ":80/a", "@b/a",
    ],
)  # fmt: skip
def test_a_workload_has_one_spelling(shared, path):
    """Else a rule about one name could be passed by another that some reader takes for the same."""
    bundled = {"provider": "spiffe", "jwks": bundle(shared)}
    trusts = Verifier(Issuer(url=DOMAIN, audience=AUDIENCE, **bundled))
    speaks = verifier(shared, **bundled)
    assert outcome(trusts, shared.token(f"{DOMAIN}/ns/a", iss=None)) == f"service:{DOMAIN}/ns/a"
    assert outcome(trusts, shared.token(DOMAIN + path, iss=None)) in {"subject", "issuer"}
    assert outcome(speaks, shared.token(DOMAIN + path)) == "subject"


@pytest.mark.parametrize(
    "subject", ["SPIFFE://acme.example/a", "spiffe://ACME.example/a", "spiffe://[a", "a"]
)
def test_what_is_no_name_of_a_workload_is_refused_whoever_signs_it(shared, subject):
    speaks = verifier(shared, provider="spiffe", jwks=bundle(shared))
    assert outcome(speaks, shared.token(subject)) == "subject"


def test_a_trust_bundle_makes_no_actor_of_another_domain(shared):
    trusts = Verifier(Issuer(url=DOMAIN, audience=AUDIENCE, provider="spiffe", jwks=bundle(shared)))
    for actor, expected in [
        ("spiffe://other.example/root", "subject"),
        (f"{DOMAIN}/tool", f"service:{DOMAIN}/tool for service:{DOMAIN}/a"),
    ]:
        token = shared.token(f"{DOMAIN}/a", iss=None, act={"sub": actor})
        assert outcome(trusts, token) == expected


def test_nobody_lives_longer_than_the_policy_lets_tokens_live(shared):
    now = int(time.time())
    believes = verifier(shared, max_age=60)
    found = believes.verify(shared.token("anna", iat=now - 30, exp=now + 86_400))
    assert found.expires is not None
    assert found.expires.timestamp() == now + 30
    soon = believes.verify(shared.token("anna", iat=now - 30, exp=now + 5))
    assert soon.expires is not None
    assert soon.expires.timestamp() == now + 5


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"email_verified": False}, "subject"),
        ({"email_verified": "false"}, "subject"),
        ({"email_verified": True}, "unknown:ceo@acme.example"),
        ({}, "unknown:ceo@acme.example"),
    ],
)
def test_an_address_that_its_owner_typed_in_names_nobody(shared, said, expected):
    believes = verifier(shared, mapped=Mapped(subject=("email",)))
    assert outcome(believes, shared.token("u-1", email="ceo@acme.example", **said)) == expected


def test_a_name_chosen_elsewhere_makes_no_application_of_a_person(shared):
    believes = verifier(shared, provider="auth0")
    assert outcome(believes, shared.token("oauth2|x|me@clients")) == "human:oauth2|x|me@clients"
    assert outcome(believes, shared.token("abc@clients")) == "service:abc@clients"


@pytest.mark.parametrize(
    "name",
    ["an\xadna", "anna\u200b", "anna\u200e", "\ufeffanna", "anna\u2060", "anna\u061c", "anna\U000e0041",
     " ", "\xa0", "\u3000"],
)  # fmt: skip
def test_names_that_show_as_another_or_as_nothing_are_nobody_s(shared, name):
    assert outcome(verifier(shared), shared.token(name)) == "subject"
    with pytest.raises(ValueError, match=r"invisible|nothing but space"):
        Identity.human(name)


def test_names_are_spelled_as_people_spell_them(shared):
    for name in ("José", "Jose\u0301", "\u0645\u06cc\u200c\u0631\u0648\u0645", "o'neil", "anna lee", "李"):
        assert verifier(shared).verify(shared.token(name)).subject == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("josé@acme.example", "Jose\u0301@acme.example"),
        ("anna", "\uff21\uff2e\uff2e\uff21"),
        ("an\u200dna", "anna"),
        ("anna", " Anna "),
        ("straße", "STRASSE"),
        ("anna", "Human:Anna"),
    ],
)
def test_one_person_under_two_spellings_is_one_person(one, other):
    """Four eyes: nobody approves what they ask for by spelling themselves another way."""
    assert same_person(Identity.human(one), Identity.human(other))
    assert not same_person(Identity.human(one), Identity.human("berta"))


@pytest.mark.parametrize("what", ["session", "tool_call", "mcp_session", "purpose"])
def test_what_is_said_of_a_call_is_text_and_ends(what):
    most = MAX_PURPOSE if what == "purpose" else MAX_NAME
    who = Identity.agent("bot")
    assert getattr(who.during(**{what: "x" * most}), what)
    with pytest.raises(ValueError, match="longer than") as caught:
        who.during(**{what: "secret" * most})
    assert "secret" not in str(caught.value)
    for bad in (5, ["x"], b"x"):
        with pytest.raises(TypeError, match="is text"):
            who.during(**{what: bad})  # type: ignore[arg-type]


def test_a_principal_is_an_identity_or_a_name():
    with pytest.raises(TypeError, match="on_behalf_of"):
        Identity.agent("bot", on_behalf_of=5)  # type: ignore[arg-type]


def test_a_mistake_of_ours_is_a_refusal_that_quotes_nothing(shared, monkeypatch):
    def fails(*_: object) -> None:
        raise LookupError("u-secret")

    monkeypatch.setattr(claims, "check_claims", fails)
    with pytest.raises(TokenRefused) as caught:
        verifier(shared).verify(shared.token("u-secret"))
    assert caught.value.rule == "identity.token.malformed"
    assert caught.value.issuer == shared.url
    assert caught.value.__context__ is None
    assert "u-secret" not in str(caught.value)


@pytest.mark.parametrize("jti", ["\ud800", "x\n\x1b[2J", "j" * 9000, 7, ["t"]])
def test_what_cannot_be_shown_of_a_token_s_name_is_left_out(shared, jti):
    assert verifier(shared).examine(shared.token("u", jti=jti)).token_id == ""
    assert verifier(shared).examine(shared.token("u", jti="t-1")).token_id == "t-1"


def test_a_key_without_a_showable_name_has_none(shared):
    keys = {"keys": [{**shared.jwks()["keys"][0], "kid": "k\ud800\x1b"}]}
    import jwt

    token = jwt.encode(
        {"iss": shared.url, "sub": "u", "aud": AUDIENCE, "exp": int(time.time()) + 60},
        next(iter(shared._keys.values())),
        "ES256",
    )
    assert verifier(shared, jwks=keys).examine(token).key_id == ""


def test_our_own_token_is_shown_to_nobody_whom_a_document_names(issuer, tmp_path):
    """The system's authorities vouch for anybody: a discovery document could send it anywhere."""
    bearer = tmp_path / "token"
    bearer.write_text("service-account-token")
    with Listening() as other:
        issuer.keys_at = f"{other.url}/keys"
        other._keys = issuer._keys
        assert verifier(issuer, bearer_file=bearer).verify(issuer.token("u"))
        assert issuer.shown == ["Bearer service-account-token"]
        assert other.shown == [None]
        other.shown.clear()
        named = verifier(issuer, bearer_file=bearer, jwks=f"{other.url}/keys")
        assert named.verify(issuer.token("u"))
        assert other.shown == ["Bearer service-account-token"]


def test_a_slow_issuer_holds_nobody_up_while_known_keys_serve(issuer, monkeypatch):
    monkeypatch.setattr(key_source, "INTERVAL", 0.0)
    believes = verifier(issuer, keys_lifetime=0.0, keys_stale=600.0, timeout=60.0)
    token = issuer.token("u")
    assert believes.verify(token)
    issuer.fails = True
    assert believes.verify(token)  # learns that the issuer is down
    issuer.waits.clear()
    asked = len(issuer.requests)
    try:
        # Nobody sets the issuer free before: waiting for it would last until its own limit and raise nothing.
        done = [believes.verify(token).subject for _ in range(20)]
    finally:
        free = issuer.waits.is_set()
        issuer.waits.set()
    assert done == ["u"] * 20
    assert not free
    assert len(issuer.requests) - asked <= 1  # one at a time
    issuer.fails = False
    issuer.rotate()
    assert believes.verify(issuer.token("v")).subject == "v"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_was_forked_while_keys_were_fetched_fetches_its_own(issuer):
    believes, token = verifier(issuer), issuer.token("u")
    issuer.waits.clear()
    thread = threading.Thread(target=believes.verify, args=(token,))
    thread.start()
    while not issuer.requests:
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        found = 1
        try:
            found = 0 if believes.verify(token).subject == "u" else 2
        finally:
            os._exit(found)
    issuer.waits.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
