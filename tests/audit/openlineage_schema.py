"""OpenLineage's JSON schemas of what we write, made from its own repository.

    git clone https://github.com/OpenLineage/OpenLineage CHECKOUT
    python -m tests.audit.openlineage_schema CHECKOUT > tests/corpus/openlineage.json

The repository is under the Apache License 2.0. Descriptions and examples are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FILES = ("OpenLineage.json", "facets/ColumnLineageDatasetFacet.json", "facets/SQLJobFacet.json")


def bare(value: Any, names: bool = False) -> Any:
    """Leave out prose; ``names``: the keys are names of properties, not of the schema language."""
    if isinstance(value, dict):
        return {
            key: bare(inner, names=key in ("properties", "$defs") and not names)
            for key, inner in value.items()
            if names or key not in ("description", "example")
        }
    return [bare(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    found = [bare(json.loads((Path(sys.argv[1]) / "spec" / name).read_text("utf-8"))) for name in FILES]
    made = {
        "comment": "OpenLineage, Apache License 2.0; made by tests/audit/openlineage_schema.py",
        "schemas": found,
    }
    json.dump(made, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
