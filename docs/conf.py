"""Sphinx configuration: the pages are Markdown, the reference comes from the docstrings."""

project = "governed_db"
copyright = "the governed_db authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.intersphinx"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
# Offline builds: nothing is fetched, and names of other projects are not checked.
intersphinx_mapping: dict[str, object] = {}
nitpick_ignore_regex = [
    (r"py:.*", r"(psycopg|opentelemetry|attrs?|collections|pathlib|datetime|enum|typing|contextlib)(\..*)?"),
    (r"py:class", r"(Self|Row|RV|Params|Query|PQGen.*|Any|P|R|ConnParam|Template|TracerProvider|optional)"),
    (r"py:(class|func|obj|mod|data|meth|attr|exc)", r".*"),
]
