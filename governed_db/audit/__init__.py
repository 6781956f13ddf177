"""NOTED: the journal, its reader, and the spans made from it."""
