"""MASK: sensitive columns found, planned for and hidden as they load."""
