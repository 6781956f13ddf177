"""Sphinx configuration: the pages are Markdown, the reference comes from the docstrings."""

project = "governed_db"
author = "the governed_db authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# Docstrings give the types; signatures with the names of other projects could not be resolved offline.
autodoc_typehints = "none"
add_module_names = False
autodoc_member_order = "bysource"
nitpick_ignore_regex = [
    # Other projects' names: nothing is fetched to check them.
    (r"py:.*", r"(psycopg|asyncio|contextvars|opentelemetry|datetime|typing|collections|pathlib|enum)\..*"),
]
