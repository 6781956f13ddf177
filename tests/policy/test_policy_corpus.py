"""SQL as an agent sends it, judged by ``standard`` from the grammar alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from policy_cases import AGENT

from governed_db.policy import preset
from governed_db.policy.model import Request
from governed_db.statement import read

CORPUS = Path(__file__).parents[1] / "corpus" / "policy_standard.jsonl"
LINES = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["sql"][:60])
def test_standard_as_an_agent_without_a_catalog(line: dict[str, Any]) -> None:
    decision = preset("standard").decide(Request(statement=read(line["sql"]), identity=AGENT))
    assert (decision.verdict, decision.rule) == (line["verdict"], line["rule"]), decision.reason
    if line["verdict"] != "allow":
        assert decision.remedy
        # Literals of the statement stay out of what is said about it.
        for literal in ("/etc/passwd", "/tmp/x", "10GB", "evil'", "purge_secret"):
            assert literal not in decision.reason + decision.remedy
