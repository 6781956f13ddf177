"""What a policy demands to know of its callers, on every way a statement can take."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from attrs import evolve
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import governed_db
from governed_db import Governor, Identity, IdentityRequired, TokenRefused, acting_as
from governed_db.audit import reader
from governed_db.identity import NOBODY
from governed_db.policy import demands
from governed_db.testing import TokenIssuer
from tests.flavours import Flavour, do, within

flavours = pytest.mark.parametrize("name", ["sync", "async"])

SOON = datetime.now(UTC) + timedelta(hours=1)
LATE = datetime.now(UTC) - timedelta(hours=2)
JUST = datetime.now(UTC) - timedelta(seconds=30)


def verified(subject: str, kind: str = "human", **more) -> Identity:
    who = {"issuer": "https://i.example", "verified": True, "expires": SOON}
    return Identity(**{"kind": kind, "subject": subject, **who, **more})


ANNA, ROOT = Identity.human("anna"), verified("root")
CALLERS = {
    "nobody": NOBODY,
    "named": ANNA,
    "an agent for nobody in particular": Identity.agent("copilot", on_behalf_of=NOBODY),
    "verified": ROOT,
    "verified, for ever": verified("root", expires=None),
    "verified for verified": verified("copilot", "agent", on_behalf_of=ROOT),
    "verified for claimed": verified("copilot", "agent", on_behalf_of=ANNA),
    "claimed for verified": Identity.agent("copilot", on_behalf_of=ROOT),
    "expired": verified("root", expires=LATE),
    "expired just now": verified("root", expires=JUST),
    "for an expired one": Identity.agent("copilot", on_behalf_of=verified("root", expires=LATE)),
    "a service": Identity.service("billing"),
}
NAMED = {"nobody", "an agent for nobody in particular"}
CLAIMED = {"named", "claimed for verified", "verified for claimed", "a service"}
EXPIRED = {"expired", "for an expired one"}

DEMANDS = {
    "": set(),
    "require = 'nobody'": set(),
    "require = 'named'": NAMED,
    "require = 'verified'": NAMED | CLAIMED,
    "require = 'principal'": NAMED | {"named", "verified for claimed", "a service"},
    "verified = [{ kind = ['agent'] }]": {
        "an agent for nobody in particular",
        "verified for claimed",
        "claimed for verified",
    },
    "verified = [{ on_behalf_of = { subject = ['root'] } }, { kind = ['service'] }]": {
        "claimed for verified",
        "a service",
    },
}


@pytest.fixture
def governors(tmp_path):
    made = []

    def make(text: str, **kwargs) -> Governor:
        path = tmp_path / f"{len(made)}.toml"
        path.write_text(text)
        made.append(Governor.load(path, state_dir=tmp_path / str(len(made)), **kwargs))
        return made[-1]

    yield make
    for governor in made:
        governor.close()


def events(governor: Governor) -> list[dict]:
    return list(reader.read(governor.trail.folder))


@pytest.mark.parametrize("demand", DEMANDS)
def test_who_meets_which_demand(governors, dsn, demand):
    governor = governors(f"extends = 'standard'\n[callers]\nleeway = 600\n{demand}\n")
    with governed_db.connect(dsn, governor=governor) as conn:
        for name, caller in CALLERS.items():
            rule = "identity.required" if name in DEMANDS[demand] else ""
            rule = "identity.expired" if name in EXPIRED else rule
            with acting_as(caller):
                for decision in (
                    governor.check("SELECT 1", identity=caller),
                    governor.check("SELECT 1", connection=conn),
                ):
                    found = (decision.verdict, decision.rule) if rule else decision.verdict
                    assert found == (("block", rule) if rule else "allow"), name
                if not rule:
                    assert conn.execute("SELECT 1").fetchone() == (1,)
                    conn.rollback()
                    continue
                with pytest.raises(IdentityRequired) as caught:
                    conn.execute("SELECT 1")
                error = caught.value
                assert (error.rule, error.retryable) == (rule, False), name
                assert error.remedy
                assert f"[rule {rule}]" in str(error)
                assert caller.subject == "" or caller.subject not in str(error)
                assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE  # not even BEGIN


async def way(conn, how: str) -> None:
    """Send something by one of the ways there are."""
    match how:
        case "execute":
            await do(conn.execute("SELECT 1"))
        case "executemany":
            await do(conn.cursor().executemany("SELECT %s", [(1,), (2,)]))
        case "executemany of nothing":
            await do(conn.cursor().executemany("SELECT %s", []))
            raise IdentityRequired(rule="identity.required")  # nothing is sent for it
        case "stream":
            found = conn.cursor().stream("SELECT 1")
            await anext(found) if hasattr(found, "__anext__") else next(found)
        case "copy":
            async with within(conn.cursor().copy("COPY (SELECT 1) TO STDOUT")):
                pass
        case "server cursor":
            async with within(conn.cursor(name="c")) as cursor:
                await do(cursor.execute("SELECT 1"))
        case "pipeline":
            async with within(conn.pipeline()):
                await do(conn.execute("SELECT 1"))
        case "client cursor":
            await do(Flavour(conn_name(conn)).ClientCursor(conn).execute("SELECT 1"))
        case "unreadable":
            await do(conn.execute("SELEC 1"))
        case "empty":
            await do(conn.execute(""))
        case "savepoint":
            await do(conn.execute("SAVEPOINT x"))


def conn_name(conn) -> str:
    return "async" if isinstance(conn, psycopg.AsyncConnection) else "sync"


WAYS = [
    "execute", "executemany", "executemany of nothing", "stream", "copy", "server cursor", "pipeline",
    "client cursor", "unreadable", "empty", "savepoint",
]  # fmt: skip


@flavours
@pytest.mark.parametrize("how", WAYS)
async def test_nothing_of_an_unknown_caller_is_sent_on_any_way(governors, dsn, server, name, how):
    governor = governors("extends = 'standard'\n[callers]\nrequire = 'named'\n")
    async with Flavour(name).connect(dsn, governor=governor) as conn:
        with pytest.raises(IdentityRequired) as caught:
            await way(conn, how)
        assert caught.value.rule == "identity.required"
        with acting_as(ANNA):
            assert await do((await do(conn.execute("SELECT 7"))).fetchone()) == (7,)


@flavours
async def test_a_token_that_runs_out_in_a_transaction_leaves_it_usable(governors, dsn, name):
    governor = governors("extends = 'standard'\n")
    async with Flavour(name).connect(dsn, governor=governor, identity=verified("root")) as conn:
        await do(conn.execute("SAVEPOINT kept"))
        with acting_as(verified("root", expires=LATE)), pytest.raises(IdentityRequired, match="expired"):
            await do(conn.execute("SELECT 1"))
        await do(conn.execute("ROLLBACK TO SAVEPOINT kept"))
        assert await do((await do(conn.execute("SELECT 1"))).fetchone()) == (1,)
        await do(conn.commit())
    refused = [r for r in events(governor) if r.get("may", {}).get("rule") == "identity.expired"]
    assert len(refused) == 1
    assert refused[0]["who"]["subject"] == "root"
    assert refused[0]["who"]["expires"] == LATE.isoformat()


def test_the_leeway_is_the_policy_s(governors, dsn):
    strict = governors("extends = 'standard'\n[callers]\nleeway = 0\n")
    patient = governors("extends = 'standard'\n[callers]\nleeway = 600\n")
    assert strict.check("SELECT 1", identity=CALLERS["expired just now"]).rule == "identity.expired"
    assert patient.check("SELECT 1", identity=CALLERS["expired just now"]).verdict == "allow"
    assert patient.check("SELECT 1", identity=CALLERS["expired"]).rule == "identity.expired"


def test_under_observe_nobody_is_refused(governors, dsn):
    governor = governors("extends = 'observe'\n[callers]\nrequire = 'verified'\n")
    with governed_db.connect(dsn, governor=governor, identity=CALLERS["expired"]) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        assert governor.check("SELECT 1", identity=NOBODY, connection=conn).verdict == "allow"


@flavours
async def test_observe_records_whom_the_demand_would_refuse(governors, dsn, name):
    governor = governors("extends = 'observe'\n[callers]\nrequire = 'verified'\n")
    async with Flavour(name).connect(dsn, governor=governor, autocommit=True) as conn:
        for caller in ("nobody", "named", "expired", "verified"):
            with acting_as(CALLERS[caller]):
                await do(conn.execute("SELECT 8"))
    found = [r["may"] for r in events(governor) if r["kind"] == "intent"]
    assert [(m["verdict"], m["rule"]) for m in found[:3]] == [
        ("block", "identity.required"),
        ("block", "identity.required"),
        ("block", "identity.expired"),
    ]
    assert found[3]["verdict"] == "allow"


async def test_acheck_says_so_as_well(governors, dsn):
    governor = governors("extends = 'standard'\n[callers]\nrequire = 'named'\n")
    assert (await governor.acheck("SELECT 1")).rule == "identity.required"
    async with Flavour("async").connect(dsn, governor=governor) as conn:
        assert (await governor.acheck("SELECT 1", connection=conn)).rule == "identity.required"
        decision = await governor.acheck("SELECT 1", connection=conn, identity=ANNA)
        assert decision.verdict == "allow"


POLICY = """
extends = "standard"

[callers]
require = "verified"

[[issuer]]
url = "{url}"
audience = "governed-db"
groups = "groups"
kind = "human"
actors = [{{ kind = "agent" }}]
"""


@flavours
async def test_from_the_token_to_the_record(governors, dsn, name):
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with TokenIssuer() as issuer:
        governor = governors(POLICY.format(url=issuer.url), tracer_provider=provider)
        identify = governor.identify if name == "sync" else governor.aidentify
        good = issuer.token("anna", act={"sub": "copilot"}, groups=["dba"], jti="t-1")
        caller = await do(identify(good, session="s-1", mcp_session="m-1", tool_call="c-1"))
        assert str(caller) == "agent:copilot for human:anna"
        bad = [issuer.token("anna", exp=1), issuer.token("anna", aud="x"), "rubbish"]
        for token in bad:
            with pytest.raises(TokenRefused):
                await do(identify(token))
        async with Flavour(name).connect(dsn, governor=governor, identity=caller) as conn:
            await do(conn.execute("SELECT 1"))
    governor.flush()
    found = events(governor)
    text = json.dumps(found)
    assert text.count("identity.refused") == 3
    for rule in ("expired", "audience", "malformed"):
        assert f"identity.token.{rule}" in text
    assert not any(part in text for token in [good, *bad[:2]] for part in token.split("."))
    (sent,) = [r for r in found if r.get("what", {}).get("text") == "SELECT $1" and "who" in r]
    who = sent["who"]
    assert (who["verified"], who["issuer"], who["mcp_session"]) == (True, issuer.url, "m-1")
    assert who["expires"] == caller.expires.isoformat()
    assert who["on_behalf_of"] == [
        {"kind": "human", "subject": "anna", "issuer": issuer.url, "verified": True, "groups": ["dba"]}
    ]
    (span,) = [s for s in spans.get_finished_spans() if s.attributes["db.query.text"] == "SELECT $1"]
    assert span.attributes["governed_db.identity.verified"] is True
    assert span.attributes["governed_db.on_behalf_of.verified"] is True
    assert span.attributes["mcp.session.id"] == "m-1"
    assert span.attributes["session.id"] == "s-1"


def test_a_chain_that_is_partly_claimed_says_so_in_its_span():
    from governed_db.audit.sections import who
    from governed_db.audit.shape import attributes

    for caller, said in [
        (CALLERS["verified for claimed"], False),
        (CALLERS["verified for verified"], True),
        (ANNA, None),
    ]:
        values = attributes({"id": "1", "who": who(caller)})
        assert values.get("governed_db.on_behalf_of.verified") is said
        assert values["governed_db.identity.verified"] is caller.verified


def test_a_policy_without_issuers_believes_no_token(governors):
    with TokenIssuer() as issuer, pytest.raises(TokenRefused, match="names no issuer"):
        governors("extends = 'standard'").identify(issuer.token("anna"))


def test_a_reload_takes_issuers_in_and_leaves_keys_that_are_known(governors, tmp_path):
    with TokenIssuer() as issuer, TokenIssuer() as other:
        governor = governors(POLICY.format(url=issuer.url))
        assert governor.identify(issuer.token("anna")).verified
        before = governor.verifier
        governor.reload()
        assert governor.verifier is before
        asked = len(issuer.requests)
        assert governor.identify(issuer.token("anna")).verified
        assert len(issuer.requests) == asked
        (tmp_path / "0.toml").write_text(POLICY.format(url=other.url))
        governor.reload()
        assert governor.identify(other.token("anna")).verified
        with pytest.raises(TokenRefused, match=r"identity\.token\.issuer"):
            governor.identify(issuer.token("anna"))


def test_a_token_is_not_identified_where_that_cannot_be_recorded(governors, tmp_path):
    with TokenIssuer() as issuer:
        governor = governors(POLICY.format(url=issuer.url))
        (tmp_path / "0").mkdir(exist_ok=True)
        governor.trail.folder = tmp_path / "0.toml"
        with pytest.raises(governed_db.AuditUnavailable):
            governor.identify(issuer.token("anna"))


def test_a_caller_who_is_verified_anew_is_the_same_caller(governors, dsn):
    """What is known of statements is kept by who asks, not by which token said so."""
    governor = governors("extends = 'standard'\n[callers]\nrequire = 'verified'\n")
    with governed_db.connect(dsn, governor=governor) as conn:
        for n in range(3):
            with acting_as(evolve(ROOT, expires=SOON + timedelta(seconds=n), mcp_session=f"m-{n}")):
                conn.execute("SELECT 2")
        assert len(conn._seat._standings) == 1


def test_who_is_named_in_a_question_is_taken_to_be_who_it_says(tmp_path, capsys):
    from governed_db.cli import main

    path = tmp_path / "p.toml"
    path.write_text("extends = 'standard'\n[callers]\nrequire = 'verified'\n")
    assert main(["check", "--policy", str(path), "--as", "agent:copilot", "SELECT 1"]) == 0
    assert "identity.required" not in capsys.readouterr().out
    assert main(["check", "--policy", str(path), "SELECT 1"]) != 0
    assert "identity.required" in capsys.readouterr().out


@flavours
@pytest.mark.parametrize("mode", ["on", "off"])
async def test_who_expires_reads_no_further_from_an_open_cursor(governors, dsn, name, mode):
    """Each FETCH reads anew: a cursor that stays open must not outlive the word of the issuer."""
    governor = governors(
        f"extends = 'standard'\n[callers]\nrequire = 'verified'\n[masking]\nmode = '{mode}'\n"
    )
    async with Flavour(name).connect(dsn, governor=governor) as conn:
        cursor = conn.cursor(name="c")
        with acting_as(ROOT):
            await do(cursor.execute("SELECT * FROM generate_series(1, 100)"))
            assert await do(cursor.fetchone()) == (1,)
        with acting_as(evolve(ROOT, expires=LATE)):
            for read in (cursor.fetchone, cursor.fetchall, lambda: cursor.scroll(1)):
                with pytest.raises(IdentityRequired) as caught:
                    await do(read())
                assert caught.value.rule == "identity.expired"
        with acting_as(evolve(ROOT, expires=SOON + timedelta(hours=1))):  # the same caller, verified anew
            assert await do(cursor.fetchone()) == (2,)
            await do(cursor.close())
    rules = [r["may"]["rule"] for r in events(governor) if r["kind"] == "attempt"]
    assert rules == ["identity.expired"] * 3


@flavours
async def test_a_cursor_read_behind_its_block_ends_with_whoever_opened_it(governors, dsn, name, monkeypatch):
    governor = governors("extends = 'standard'\n[masking]\nmode = 'off'\n")
    async with Flavour(name).connect(dsn, governor=governor) as conn:
        cursor = conn.cursor(name="c")
        with acting_as(ROOT):
            await do(cursor.execute("SELECT * FROM generate_series(1, 100)"))
        assert await do(cursor.fetchone()) == (1,)
        monkeypatch.setattr(demands, "datetime", _Tomorrow)
        with pytest.raises(IdentityRequired, match="expired"):
            await do(cursor.fetchone())
        await do(cursor.close())


class _Tomorrow(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=1)


def test_callers_of_an_issuer_that_a_reload_takes_out_are_known_no_more(governors, dsn, tmp_path):
    with TokenIssuer() as issuer, TokenIssuer() as other:
        governor = governors(POLICY.format(url=issuer.url))
        anna = governor.identify(issuer.token("anna"))
        with governed_db.connect(dsn, governor=governor) as conn:
            with acting_as(anna):
                conn.execute("SELECT 1")
            (tmp_path / "0.toml").write_text(POLICY.format(url=other.url))
            governor.reload()
            for caller in (anna, Identity.agent("copilot", on_behalf_of=anna)):
                assert governor.check("SELECT 1", identity=caller).rule == "identity.withdrawn"
                with acting_as(caller), pytest.raises(IdentityRequired) as caught:
                    conn.execute("SELECT 1")
                assert caught.value.rule == "identity.withdrawn"
            with acting_as(governor.identify(other.token("anna"))):
                conn.execute("SELECT 1")
            (tmp_path / "0.toml").write_text(POLICY.format(url=issuer.url))
            governor.reload()  # named again
            with acting_as(anna):
                conn.execute("SELECT 1")


def test_a_reload_that_fails_believes_nobody_new(governors, tmp_path, monkeypatch):
    monkeypatch.delenv("GOVERNED_DB_MASKING_KEY", raising=False)
    with TokenIssuer() as issuer, TokenIssuer() as other:
        governor = governors(POLICY.format(url=issuer.url))
        unusable = f"{POLICY.format(url=other.url)}\n[masking]\nkeys = '{tmp_path / 'none'}'\n"
        (tmp_path / "0.toml").write_text(unusable)
        with pytest.raises(governed_db.PolicyError):
            governor.reload()
        with pytest.raises(TokenRefused, match=r"identity\.token\.issuer"):
            governor.identify(other.token("anna"))
        anna = governor.identify(issuer.token("anna"))
        assert governor.check("SELECT 1", identity=anna).verdict == "allow"


class _Slow:
    """A decider that takes its time over the first question, and says who was waiting for it."""

    def __init__(self) -> None:
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def decide(self, request):
        if not self.asked.is_set():
            self.asked.set()
            self.goes_on.wait(10)
        return request.policy.decide(request)


@pytest.mark.parametrize("how", ["stream", "copy"])
async def test_who_calls_while_another_s_stream_is_judged_stays_who_it_is(tmp_path, dsn, how):
    """One connection, two tasks: nothing of the second may run in the name of the first."""
    slow = _Slow()
    path = tmp_path / "policy.toml"
    path.write_text("extends = 'standard'\n[callers]\nrequire = 'verified'\n")
    governor = Governor.load(path, state_dir=tmp_path / "state", decider=slow, decider_timeout=20)
    async with Flavour("async").connect(dsn, governor=governor, autocommit=True) as conn:

        async def first() -> list:
            with acting_as(ROOT):
                return [row async for row in conn.cursor().stream("SELECT 1")]

        async def second() -> None:
            with acting_as(Identity.agent("bot")):
                assert conn.identity.subject == "bot"
                cursor = conn.cursor()
                rows = cursor.stream("SELECT 2") if how == "stream" else None
                copy = cursor.copy("COPY (SELECT 2) TO STDOUT") if how == "copy" else None
                slow.goes_on.set()
                if rows is not None:
                    await anext(rows)
                if copy is not None:
                    async with copy:
                        pass

        streams = asyncio.create_task(first())
        await asyncio.to_thread(slow.asked.wait, 10)
        with pytest.raises(IdentityRequired):
            await second()
        assert await streams == [(1,)]
    sent = [r["what"].get("text") for r in events(governor) if r["kind"] == "intent"]
    assert not any("COPY" in str(text) for text in sent)
    assert sent.count("SELECT $1") == 1
    governor.close()
