"""WHAT, continued: what this database says the names are."""
