"""``governed-db harden``: a server that ran its output refuses by itself what the policy refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq

from governed_db import Connection, Governor, Identity
from governed_db.cli import main
from governed_db.policy import Verdict
from governed_db.testing import EmbeddedPostgres

CORPUS = Path(__file__).parents[1] / "corpus"
AGENT = Identity.agent("copilot")
CLOSED, OPEN, OTHER, WORKER = "harden_closed", "harden_open", "harden_other", "harden_worker"
ODD = 'harden "odd\n--; name'

EXPRESSED = frozenset(
    {
        "code-blocks",
        "drop",
        "procedures",
        "server-administration",
        "server-files",
        "server-objects",
        "system-catalog-writes",
        "truncate",
        "withheld",
    }
)
"""Rules of ``standard`` that privileges stand for, whatever the statement."""


def harden(dsn: str, *arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["harden", "--dsn", dsn, *arguments]) == 0
    return out.getvalue()


def run(dsn: str, script: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(script.encode())


@pytest.fixture(scope="module")
def shop(server: EmbeddedPostgres) -> Iterator[str]:
    conninfo = server.create_database("cli_harden")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute((CORPUS / "attack_schema.sql").read_bytes())
        connection.execute(f"CREATE ROLE {OTHER} LOGIN")
        connection.execute(f"CREATE ROLE {OPEN} LOGIN SUPERUSER IN ROLE {OTHER}, pg_read_all_data")
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {OPEN}, PUBLIC")
    for role, sensitive in ((CLOSED, "withhold"), (OPEN, "grant")):
        script = harden(conninfo, "--role", f"{role}=agent", "--sensitive", sensitive, "--policy", "standard")
        run(conninfo, script)
        run(conninfo, script)
    yield conninfo
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for (role,) in connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'harden%'"
        ).fetchall():
            quoted = psycopg.sql.Identifier(role)
            connection.execute(psycopg.sql.SQL("DROP OWNED BY {}").format(quoted))
            connection.execute(psycopg.sql.SQL("DROP ROLE {}").format(quoted))
    server.drop_database("cli_harden")


@pytest.fixture(scope="module")
def judged(shop: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any, bool]]:
    """Every statement of the corpora with the decision about it and whether something of it is masked."""
    governor = Governor.preset("standard", state_dir=tmp_path_factory.mktemp("state"))
    found = []
    with Connection.connect(shop, governor=governor, identity=AGENT, autocommit=True) as connection:
        for name in ("policy_standard", "attack_guard", "attack_honest"):
            for line in (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
                text = json.loads(line)["sql"]
                if not isinstance(text, str):
                    continue
                decision = governor.check(text, identity=AGENT, connection=connection)
                masked = False
                if decision.verdict is Verdict.ALLOW and decision.statement.commands:
                    bound = governor.bind(decision.statement, connection._seat)
                    catalog = connection._seat.catalog
                    assert catalog is not None
                    touched = {use.relation.oid for use in bound.relations}
                    masked = any(source.relation in touched for source in governor.sensitive(catalog))
                found.append((text, decision, masked))
    governor.close()
    return found


LOST = (pq.TransactionStatus.ACTIVE, pq.TransactionStatus.UNKNOWN)  # a COPY under way, or the end


class Session:
    """A bare connection of one role: what a caller who goes past governed_db has."""

    def __init__(self, dsn: str, role: str) -> None:
        self.dsn, self.role = dsn, role
        self.connection: psycopg.Connection[Any] | None = None

    def send(self, text: str) -> str:
        """Send ``text``, take it back, and return "" or the error's SQLSTATE."""
        if self.connection is None:
            self.connection = psycopg.connect(self.dsn, user=self.role)
        state = ""
        try:
            self.connection.execute(b"SET LOCAL statement_timeout = '5s'")
            self.connection.execute(text.encode())
        except psycopg.Error as error:
            state = error.sqlstate or "driver"
        if self.connection.info.transaction_status in (
            pq.TransactionStatus.ACTIVE,
            pq.TransactionStatus.UNKNOWN,
        ):
            self.close()  # a COPY under way
        else:
            self.connection.rollback()
        return state

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


DENIED = psycopg.errors.InsufficientPrivilege.sqlstate


@pytest.mark.parametrize("role", [CLOSED, OPEN])
def test_the_server_refuses_what_the_policy_blocks(
    role: str, shop: str, judged: list[tuple[str, Any, bool]]
) -> None:
    session = Session(shop, role)
    wrong = [
        (decision.rule, text)
        for text, decision, _ in judged
        if decision.verdict is Verdict.BLOCK
        and decision.rule in EXPRESSED
        and decision.statement.commands == 1
        and session.send(text) == ""
    ]
    session.close()
    assert wrong == []
    assert sum(decision.rule in EXPRESSED for _, decision, _ in judged) > 80


def test_the_server_lets_through_what_the_policy_allows(
    shop: str, judged: list[tuple[str, Any, bool]]
) -> None:
    session = Session(shop, OPEN)
    allowed = [text for text, decision, _ in judged if decision.verdict is Verdict.ALLOW]
    wrong = [text for text in allowed if session.send(text) == DENIED]
    session.close()
    assert wrong == []
    assert len(allowed) > 200


def test_only_what_touches_masked_columns_is_refused_beyond_the_policy(
    shop: str, judged: list[tuple[str, Any, bool]]
) -> None:
    session = Session(shop, CLOSED)
    allowed = [(text, masked) for text, d, masked in judged if d.verdict is Verdict.ALLOW]
    wrong = [text for text, masked in allowed if not masked and session.send(text) == DENIED]
    assert wrong == []
    for text in (
        "SELECT email FROM customers",
        "SELECT * FROM customers",
        "SELECT customers FROM customers",
        "SELECT id FROM customers WHERE email LIKE 'a%'",
        "SELECT contact FROM v_customers",
        "COPY customers TO STDOUT",
        "UPDATE customers SET city = email WHERE id = 1",
    ):
        assert session.send(text) == DENIED, text
    assert session.send("SELECT id, country FROM customers WHERE id = 1") == ""
    session.close()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT lo_create(0)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT level_cmp('low', 'high')",
        "CALL purge()",
        "DO 'BEGIN END'",
        "CREATE TEMP TABLE t (a int)",
        "CREATE TABLE t (a int)",
        "CREATE SCHEMA s",
        "SELECT most_common_vals FROM pg_stats",
        "SET ROLE harden_other",
        "TRUNCATE small",
        "DROP TABLE small",
        "ALTER TABLE small ADD COLUMN x int",
        "GRANT pg_read_all_data TO harden_open",
        "ALTER ROLE harden_open SUPERUSER",
        "COPY small TO '/tmp/x'",
        "SELECT pg_read_file('/etc/passwd')",
        "UPDATE pg_class SET relname = 'x'",
    ],
)
def test_named_dangers(text: str, shop: str) -> None:
    for role in (CLOSED, OPEN):
        session = Session(shop, role)
        assert session.send(text) != "", role
        session.close()


def test_everybody_else_keeps_what_they_had(shop: str) -> None:
    session = Session(shop, OTHER)
    for text in (
        "SELECT email FROM customers",  # granted to PUBLIC before
        "SELECT level_cmp('low', 'high')",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT lo_create(0)",
        "DO 'BEGIN END'",
        "CREATE TEMP TABLE t (a int)",
        "SELECT most_common_vals FROM pg_stats",
        "SELECT pid FROM pg_stat_activity",
    ):
        assert session.send(text) == "", text
    session.close()


def test_what_is_created_later_is_closed_to_the_roles_alone(shop: str) -> None:
    with psycopg.connect(shop, autocommit=True) as connection:
        connection.execute("CREATE FUNCTION born_later() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        connection.execute("CREATE TABLE made_later (a int)")
    for role, answer in ((CLOSED, DENIED), (OPEN, DENIED), (OTHER, "")):
        session = Session(shop, role)
        assert session.send("SELECT born_later()") == answer
        session.close()
    session = Session(shop, CLOSED)
    assert session.send("SELECT a FROM made_later") == DENIED
    session.close()


def test_it_starts_with_the_timeouts_of_its_budget(shop: str) -> None:
    budget = Governor.preset("standard").policy.budget(AGENT)
    assert budget.statement_timeout is not None
    with psycopg.connect(shop, user=CLOSED) as connection:
        row = connection.execute(
            "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'"
        ).fetchone()
    assert row == (budget.statement_timeout,)


def test_under_readonly_a_session_is_read_only(shop: str) -> None:
    script = harden(shop, "--role", "harden_reader=human:anna", "--policy", "readonly")
    run(shop, script)
    session = Session(shop, "harden_reader")
    assert session.send("SELECT id FROM small") == ""
    for text in ("INSERT INTO small (id) VALUES (900)", "UPDATE small SET twin = 1 WHERE id = 1"):
        assert session.send(text) != ""
        assert session.send("SET transaction_read_only = off; " + text) != ""
    session.close()


def test_a_named_service_writes_and_reads_unmasked(shop: str, tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text('extends = "standard"\nservices = ["billing"]\n')
    run(shop, harden(shop, "--role", f"{WORKER}=service:billing", "--policy", str(policy)))
    session = Session(shop, WORKER)
    for text in ("SELECT * FROM customers", "TRUNCATE ids", "CREATE TABLE t (a int)", "SELECT boom('x')"):
        assert session.send(text) == "", text
    assert session.send("SELECT pg_read_file('/etc/passwd')") != ""
    session.close()


COLUMNS = """
extends = "standard"

[[rule]]
id = "stock-is-counted"
when = { effects = ["update", "select"], columns = ["public.products.stock"] }
then = "block"
because = "stock is for the warehouse"
"""


def test_rules_about_columns_are_granted_column_by_column(shop: str, tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text(COLUMNS)
    run(shop, harden(shop, "--role", "harden_columns=agent", "--policy", str(policy)))
    session = Session(shop, "harden_columns")
    assert session.send("SELECT name FROM products WHERE id = 1") == ""
    assert session.send("UPDATE products SET price = 1 WHERE id = 1") == ""
    assert session.send("SELECT stock FROM products WHERE id = 1") == DENIED
    assert session.send("UPDATE products SET stock = 1 WHERE id = 1") == DENIED
    session.close()


def test_approvals_are_granted_when_asked_for(shop: str) -> None:
    run(shop, harden(shop, "--role", "harden_approved=agent", "--with-approvals"))
    session = Session(shop, "harden_approved")
    assert session.send("CREATE TABLE t (a int)") == ""
    assert session.send("SELECT boom('x')") == ""
    assert session.send("TRUNCATE small") == DENIED
    session.close()


def test_names_are_quoted_and_comments_stay_comments(shop: str) -> None:
    script = harden(shop, "--role", f"{ODD}=agent")
    run(shop, script)
    session = Session(shop, ODD)
    assert session.send("SELECT id FROM small") == ""
    assert session.send("TRUNCATE small") == DENIED
    session.close()


def test_the_script_names_rules_and_what_it_cannot_do(shop: str) -> None:
    script = harden(shop, "--role", f"{CLOSED}=agent")
    before, _, after = script.partition("COMMIT;")
    assert "truncate" in before
    assert "email (EMAIL_ADDRESS)" in before
    assert "small-changes: at most 100 rows in a statement" in after
    assert "search-path" in after
    statements = [line for line in before.splitlines() if line and not line.startswith("--")]
    assert statements[0] == "BEGIN;"
    # Nothing is left to take from PUBLIC: the fixture's script did it.
    assert "FROM PUBLIC;" not in "\n".join(line for line in statements if "ON TABLE" in line)


def test_nothing_is_executed(shop: str) -> None:
    harden(shop, "--role", "harden_never=agent")
    with psycopg.connect(shop) as connection:
        row = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'harden_never'").fetchone()
    assert row == (0,)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dsn", "host=/nonexistent password=hunter2"],
        ["--dsn", "x", "--role", "nameless"],
        ["--dsn", "x", "--role", "a=robot"],
        ["--dsn", "x", "--role", "a=agent", "--role", "a=human"],
        ["--dsn", "x", "--policy", "/nonexistent.toml"],
    ],
)
def test_usage_errors_and_failures_are_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["harden", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hunter2" not in captured.err


def test_grants_of_others_than_the_owner_go_too(server: EmbeddedPostgres) -> None:
    """A superuser's REVOKE counts as the owner's, and passes over what somebody else has granted."""
    conninfo = server.create_database("cli_harden_handed")
    role, owner, middle, later = (f"harden_{n}" for n in ("handed", "owner", "middle", "later"))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            f"""
            CREATE ROLE {role} LOGIN; CREATE ROLE {owner}; CREATE ROLE {middle}; CREATE ROLE {later};
            CREATE TABLE kept (id int PRIMARY KEY, password_hash text); ALTER TABLE kept OWNER TO {owner};
            CREATE FUNCTION wipe() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM kept';
            REVOKE EXECUTE ON FUNCTION wipe() FROM PUBLIC;
            GRANT SELECT, TRUNCATE ON kept TO {middle} WITH GRANT OPTION;
            GRANT EXECUTE ON FUNCTION wipe() TO {middle} WITH GRANT OPTION;
            GRANT ALL ON SCHEMA public TO {middle} WITH GRANT OPTION;
            SET ROLE {middle};
            GRANT SELECT ON kept TO {role}; GRANT TRUNCATE ON kept TO PUBLIC;
            GRANT EXECUTE ON FUNCTION wipe() TO {role}; GRANT CREATE ON SCHEMA public TO {role};
            RESET ROLE;
            ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT ON TABLES TO PUBLIC;
            GRANT SET ON PARAMETER session_replication_role TO {role};
            CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
            ALTER FUNCTION mine() OWNER TO {role};
            """.encode()
        )
    try:
        script = harden(conninfo, "--role", f"{role}=agent")
        assert "WARNING" in script  # it owns a function
        run(conninfo, script)
        run(conninfo, script)
        run(conninfo, "CREATE TABLE fresh (id int)")
        session = Session(conninfo, role)
        for text in (
            "SELECT password_hash FROM kept",
            "TRUNCATE kept",
            "SELECT wipe()",
            "CREATE TABLE t (a int)",
            "SELECT * FROM fresh",
            "INSERT INTO fresh VALUES (1)",
            "SET session_replication_role = replica",
        ):
            assert session.send(text) == DENIED, text
        assert session.send("SELECT id FROM kept") == ""
        session.close()
        with psycopg.connect(conninfo, autocommit=True) as connection:  # nobody else has lost anything
            for held in (
                f"has_table_privilege('{later}', 'kept', 'TRUNCATE')",
                f"has_table_privilege('{middle}', 'kept', 'SELECT WITH GRANT OPTION')",
                f"has_table_privilege('{later}', 'fresh', 'INSERT')",
            ):
                (has,) = connection.execute(f"SELECT {held}".encode()).fetchone() or ()
                assert has, held
    finally:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for name in (role, middle, later, owner):
                connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())
        server.drop_database("cli_harden_handed")


@pytest.mark.parametrize("role", ["public", "none", "pg_mine"])
def test_names_that_no_role_can_have_are_refused(
    role: str, dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["harden", "--dsn", dsn, "--role", f"{role}=agent"]) == 1
    assert role in capsys.readouterr().err


def test_the_first_superuser_is_not_hardened(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(dsn) as connection:
        (name,) = connection.execute("SELECT rolname FROM pg_roles WHERE oid = 10").fetchone() or ()
    assert main(["harden", "--dsn", dsn, "--role", f"{name}=agent"]) == 1
    assert "superuser" in capsys.readouterr().err
