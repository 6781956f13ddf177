"""How statements end where something goes wrong late: one outcome each, all rows charged, nothing stuck."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from concurrent.futures import Future

import psycopg
import pytest

from governed_db import Governor, Identity, errors
from governed_db.audit import reader
from governed_db.policy import Decision, Verdict, decider
from governed_db.policy.decider import Counsel
from governed_db.policy.model import Budget
from governed_db.spending import Spending
from tests.flavours import Flavour, do
from tests.layout import Layout

pytestmark = pytest.mark.usefixtures("catalogs_shared")

AGENT = Identity.agent("copilot")

flavours = pytest.mark.parametrize("name", ["sync", "async"])


@pytest.fixture
def db(dsn: str, layout: Layout) -> str:
    layout.lay(
        """
        DROP TABLE IF EXISTS later, sooner CASCADE;
        CREATE TABLE sooner (id int PRIMARY KEY, n int);
        CREATE TABLE later
            (id int PRIMARY KEY, sooner int REFERENCES sooner DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO sooner SELECT n, n FROM generate_series(1, 300) AS n;
        INSERT INTO later SELECT n, n FROM generate_series(1, 300) AS n;
        """
    )
    return dsn


@pytest.fixture
def govern(tmp_path):
    made: list[Governor] = []

    def load(text: str = "", **kw) -> Governor:
        path = tmp_path / "governed-db.toml"
        path.write_text('extends = "standard"\n[masking]\nmode = "off"\n' + text)
        made.append(Governor.load(path, state_dir=tmp_path, **kw))
        return made[-1]

    yield load
    for governor in made:
        governor.close()


@flavours
@pytest.mark.parametrize(
    "statement", ["DELETE FROM sooner WHERE id < 5", "UPDATE later SET sooner = 0 - id WHERE id < 5"]
)
async def test_a_constraint_that_speaks_after_the_statement_is_its_outcome(db, govern, name, statement):
    governor = govern()
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await do(conn.execute(statement))
        entries = list(reader.statements(governor.trail.folder))  # while the connection is still open
        verb = statement.split()[0]
        (outcome,) = [
            e["happened"]["status"]
            for e in entries
            if e["kind"] == "intent" and e["what"]["text"].startswith(verb)
        ]
        assert outcome == "error"
        assert await do((await do(conn.execute("SELECT 1"))).fetchone()) == (1,)


@flavours
async def test_rows_that_no_tag_tells_of_are_spent_too(db, govern, name):
    governor = govern('[[budget]]\nid = "few"\nwho = { kind = ["agent"] }\nrows_written_per_minute = 100\n')
    statement = (
        "WITH d AS (UPDATE sooner SET n = 0 WHERE id > %s AND id <= %s RETURNING id) SELECT count(*) FROM d"
    )
    async with Flavour(name).connect(db, governor=governor, identity=AGENT, autocommit=True) as conn:
        await do(conn.execute(statement, (0, 60)))
        with pytest.raises(errors.GovernanceError, match="few"):
            await do(conn.execute(statement, (100, 160)))
    with psycopg.connect(db) as plain:
        assert plain.execute("SELECT count(*) FROM sooner WHERE n = 0").fetchone() == (60,)


def test_a_child_does_not_inherit_a_lock_that_is_taken():
    spending, budget = Spending(), Budget(id="b", statements_per_minute=5)
    counsel = Counsel(Answers())
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with spending._lock, counsel._lock:
            taken.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks
        child = os.fork()
    if not child:
        signal.alarm(10)
        done = spending.attempt(AGENT, budget, 1.0) is None
        counsel.ask(None)  # type: ignore[arg-type]
        os._exit(0 if done else 1)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Answers:
    """A decider that allows everything, after it has done what it was given to do."""

    def __init__(self, first=lambda request: None) -> None:
        self.first = first
        self.asked = 0

    def decide(self, request) -> Decision:
        self.asked += 1
        self.first(request)
        return Decision(verdict=Verdict.ALLOW, rule="org", reason="fine", statement=request.statement)


@flavours
async def test_a_decider_that_sends_what_it_would_decide_about_does_not_go_round(db, govern, name):
    seen: list[str] = []

    def look_up(request) -> None:
        with Flavour("sync").Connection.connect(db, governor=governor, identity=AGENT) as conn:
            try:
                conn.execute("SELECT 1")
            except errors.StatementBlocked as error:
                seen.append(error.rule)

    answers = Answers(look_up)
    governor = govern(decider=answers, decider_timeout=20.0)
    async with Flavour(name).connect(db, governor=governor, identity=AGENT) as conn:
        await do(conn.execute("SELECT id FROM sooner"))
    assert seen == ["decider.failed"]
    assert answers.asked == 1


def test_without_a_thread_nobody_waits_and_the_next_question_can_be_answered(monkeypatch):
    counsel = Counsel(Answers())
    with monkeypatch.context() as patch:
        patch.setattr(decider.threading.Thread, "start", _no_thread)
        assert counsel.ask(None).cancelled()  # type: ignore[arg-type]
    answer: Future[object] = counsel.ask(None)  # type: ignore[arg-type]
    assert isinstance(answer.exception(timeout=20), AttributeError)  # it was asked, about None


def _no_thread(_: object) -> None:
    raise RuntimeError("can't start new thread")
