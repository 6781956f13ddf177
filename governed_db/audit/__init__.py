"""NOTED: the trail. Records go to a journal on file first; spans are made of them afterwards."""

from governed_db.audit.journal import Journal
from governed_db.audit.reader import read, statements
from governed_db.audit.spans import Finished, SpanBuilder
from governed_db.audit.template import Template, outcome

__all__ = ["Finished", "Journal", "SpanBuilder", "Template", "outcome", "read", "statements"]
