"""Sphinx configuration: the pages are Markdown, the reference comes from the docstrings."""

project = "governed_db"
author = "the governed_db authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
