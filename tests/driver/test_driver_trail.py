"""The trail as the driver writes it: no record, no statement; spans that join the caller's trace."""

from __future__ import annotations

import shutil

import psycopg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from tests.flavours import Flavour, do

AGENT = Identity.agent("copilot", on_behalf_of="u-1", session="s-1", tool_call="c-1")
flavours = pytest.mark.parametrize("name", ["sync", "async"])


def break_trail(governor: Governor) -> None:
    """Put a file where the journal's folder was, as after a bad clean-up."""
    governor.trail.close()
    shutil.rmtree(governor.trail.folder)
    governor.trail.folder.write_bytes(b"")


def mend_trail(governor: Governor) -> None:
    governor.trail.folder.unlink()


@flavours
async def test_without_a_journal_nothing_is_sent(server, dsn, tmp_path, name):
    governor = Governor.preset("standard", state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SELECT 1"))
        break_trail(governor)
        before = len(server.statements())
        with pytest.raises(errors.AuditUnavailable) as refused:
            await do(conn.execute("SELECT 2"))
        assert isinstance(refused.value, psycopg.OperationalError)
        assert refused.value.remedy
        assert server.statements()[before:] == []
        await do(conn.rollback())  # a transaction can end
        assert server.statements()[before:] == ["ROLLBACK"]
        with pytest.raises(errors.AuditUnavailable):
            await do(conn.execute("SELECT 3"))  # not even BEGIN
        assert server.statements()[before:] == ["ROLLBACK"]
        mend_trail(governor)
        await do(conn.execute("SELECT 4"))
    governor.close()
    assert governor.stats()["unrecorded"] >= 1


@flavours
async def test_without_a_journal_nobody_connects(dsn, tmp_path, name):
    (tmp_path / "journal").write_bytes(b"")
    governor = Governor.preset("standard", state_dir=tmp_path)
    with pytest.raises(errors.AuditUnavailable):
        async with Flavour(name).connect(dsn, governor=governor):
            pass


@flavours
@pytest.mark.parametrize("how", ["observe", "continue"])
async def test_a_policy_can_say_to_continue(dsn, tmp_path, name, how):
    (tmp_path / "journal").write_bytes(b"")
    if how == "observe":
        governor = Governor.preset("observe", state_dir=tmp_path)
    else:
        policy = tmp_path / "policy.toml"
        policy.write_text('extends = "standard"\n[audit]\non_failure = "continue"\n')
        policy.chmod(0o600)
        governor = Governor.load(policy, state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        cur = await do(conn.execute("SELECT 1"))
        assert await do(cur.fetchone()) == (1,)
    assert governor.stats()["unrecorded"] > 0


@flavours
async def test_spans_join_the_callers_trace(dsn, tmp_path, name):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    governor = Governor.preset("standard", state_dir=tmp_path, tracer_provider=provider)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT, autocommit=True) as conn:
        with provider.get_tracer("app").start_as_current_span("request") as outer:
            await do(conn.execute("SELECT relname FROM pg_class WHERE oid = %s", (1259,)))
            with pytest.raises(errors.StatementBlocked):
                await do(conn.execute("DROP TABLE pg_class"))
        await do(conn.execute("SELECT 1"))
    assert governor.flush(5)
    spans = {s.name: s for s in exporter.get_finished_spans()}
    read, refused = spans["SELECT pg_class"], spans["DROP TABLE pg_class"]
    for span in (read, refused):
        assert span.context.trace_id == outer.get_span_context().trace_id
        assert span.parent.span_id == outer.get_span_context().span_id
        assert span.attributes["user.id"] == "copilot"
        assert span.attributes["gen_ai.agent.id"] == "copilot"
        assert span.attributes["session.id"] == "s-1"
        assert span.attributes["db.system.name"] == "postgresql"
    assert "1259" not in str(read.attributes)
    assert refused.attributes["governed_db.decision"] == "block"
    assert refused.attributes["error.type"] == "StatementBlocked"
    governor.close()


@flavours
async def test_literals_and_parameters_are_nowhere_in_the_trail(dsn, tmp_path, name):
    governor = Governor.preset("standard", state_dir=tmp_path)
    async with Flavour(name).connect(dsn, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SELECT 'canary-1', %s", ("canary-2",)))
        for text in ("SELECT 'canary-3' FROM", "DROP TABLE x -- canary-4", b"SELECT '\xffcanary-5'"):
            with pytest.raises(errors.GovernanceError) as refused:
                await do(conn.execute(text))
            assert "canary" not in str(refused.value)
        with pytest.raises(psycopg.Error):
            await do(conn.execute("SELECT 1 / (length('canary-6') - 8)"))
    governor.close()
    assert len(list(reader.read(tmp_path / "journal"))) > 5
    files = [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".json.z")]
    assert b"canary" not in b"".join(p.read_bytes() for p in files)
