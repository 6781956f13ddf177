"""OCSF's class Datastore Activity as a JSON Schema, made from OCSF's own repository.

    git clone --branch v1.8.0 https://github.com/ocsf/ocsf-schema CHECKOUT
    python -m tests.audit.ocsf_schema CHECKOUT > tests/corpus/ocsf_datastore_activity.json

The repository is under the Apache License 2.0. What is taken are names, types, numbers and captions of
enumerations, requirements and constraints; no description. Only attributes of KEPT and required ones are
taken, and nothing else is let through: what passes this schema passes the whole one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CLASS = "datastore_activity"
PROFILES = ("security_control", "data_classification")
# fmt: off
KEPT = frozenset(
    [
        "action", "action_id", "activity_id", "activity_name", "actor", "authorizations",
        "category", "category_id", "category_name", "category_uid", "class_name", "class_uid",
        "correlation_uid", "data_classifications", "database", "decision", "desc", "disposition",
        "disposition_id", "dst_endpoint", "duration", "end_time", "event_code", "groups",
        "hostname", "ip", "is_alert", "is_applied", "is_truncated", "issuer", "log_name",
        "log_version", "message", "metadata", "name", "original_time", "pid", "policy", "port",
        "process", "product", "profiles", "query_info", "query_string", "sequence", "session",
        "severity", "severity_id", "src_endpoint", "start_time", "status", "status_code",
        "status_detail", "status_id", "svc_name", "table", "time", "type", "type_id", "type_name",
        "type_uid", "uid", "unmapped", "untruncated_size", "user", "vendor_name", "version",
    ]
)
# fmt: on
_BASES = {
    "string_t": {"type": "string"},
    "integer_t": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long_t": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float_t": {"type": "number"},
    "boolean_t": {"type": "boolean"},
    "json_t": {},
}


class Compiler:
    """Puts together what the repository has in pieces."""

    def __init__(self, checkout: Path) -> None:
        self.root = checkout
        self.version = self._json("version.json")["version"]
        dictionary = self._json("dictionary.json")
        self.dictionary = dictionary["attributes"]
        self.types = dictionary["types"]["attributes"]
        self.categories = self._json("categories.json")["attributes"]
        self.files = {}
        for path in [*(checkout / "objects").rglob("*.json"), *(checkout / "events").rglob("*.json")]:
            self.files[(path.relative_to(checkout).parts[0], path.stem)] = path
        self.made: dict[str, Any] = {}

    def schema(self) -> dict[str, Any]:
        root = self._object("events", CLASS)
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$comment": f"OCSF {self.version}, Apache License 2.0; made by tests/audit/ocsf_schema.py",
            **root,
            "$defs": dict(sorted(self.made.items())),
        }

    def _json(self, path: str | Path) -> dict[str, Any]:
        return json.loads((self.root / path).read_text("utf-8"))

    def _merged(self, folder: str, name: str) -> dict[str, Any]:
        """One class or object with what it inherits and includes."""
        own = self._json(self.files[(folder, name)])
        above = (
            self._merged(folder, own["extends"])
            if own.get("extends")
            else {"attributes": {}, "constraints": {}}
        )
        attributes = {k: dict(v) for k, v in above["attributes"].items()}
        for included in _listed(own["attributes"].get("$include")):
            profile = self._json(included)
            if profile["name"] in PROFILES:
                for key, value in profile["attributes"].items():
                    attributes[key] = {**attributes.get(key, {}), **value}
        for key, value in own["attributes"].items():
            if key != "$include":
                enum = {**attributes.get(key, {}).get("enum", {}), **value.get("enum", {})}
                attributes[key] = {**attributes.get(key, {}), **value} | ({"enum": enum} if enum else {})
        return {
            "attributes": attributes,
            "constraints": {**above["constraints"], **own.get("constraints", {})},
            "uid": own.get("uid"),
            "category": own.get("category") or above.get("category"),
        }

    def _object(self, folder: str, name: str) -> dict[str, Any]:
        merged = self._merged(folder, name)
        properties, required, also = {}, [], []
        for key, value in sorted(merged["attributes"].items()):
            needed = value.get("requirement") == "required"
            if value.get("profile") not in (None, *PROFILES) or (key not in KEPT and not needed):
                continue
            full = {**self.dictionary[key], **value}
            if "@deprecated" in full:
                continue
            enum = {**self.dictionary[key].get("enum", {}), **value.get("enum", {})}
            properties[key] = self._attribute(full, enum)
            if needed:
                required.append(key)
            if enum and (sibling := full.get("sibling")) in KEPT:
                # A caption stands beside its number; beside 99 stands the word of whoever wrote the event.
                also += [
                    {
                        "if": {"properties": {key: {"const": int(uid)}}, "required": [key]},
                        "then": {"properties": {sibling: {"const": one["caption"]}}},
                    }
                    for uid, one in enum.items()
                    if uid != "99"
                ]
        if folder == "events":
            category = self.categories[merged["category"]]["uid"]
            uid = category * 1000 + merged["uid"]
            properties["category_uid"] = {"const": category}
            properties["class_uid"] = {"const": uid}
            activities = merged["attributes"]["activity_id"]["enum"]
            properties["type_uid"] = {"enum": sorted(uid * 100 + int(n) for n in activities)}
        for kind, names in merged["constraints"].items():
            each = [{"required": [n]} for n in names if n in properties]
            also.append({{"at_least_one": "anyOf", "just_one": "oneOf"}[kind]: each})
        made = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        return made | ({"allOf": also} if also else {})

    def _attribute(self, full: dict[str, Any], enum: dict[str, Any]) -> dict[str, Any]:
        kind = full["type"]
        if kind == "object":
            made: dict[str, Any] = {"type": "object"}
        elif kind.endswith("_t"):
            made = self._type(kind)
            if enum:
                made = {"enum": sorted(int(n) for n in enum)}
        else:
            if kind not in self.made:
                self.made[kind] = {}  # an object can hold itself
                self.made[kind] = self._object("objects", kind)
            made = {"$ref": f"#/$defs/{kind}"}
        return {"type": "array", "items": made} if full.get("is_array") else made

    def _type(self, name: str) -> dict[str, Any]:
        own = self.types[name]
        made = dict(_BASES[own.get("type", name)])
        if "regex" in own:
            made["pattern"] = own["regex"]
        if "max_len" in own:
            made["maxLength"] = own["max_len"]
        if "range" in own:
            made["minimum"], made["maximum"] = own["range"]
        return made


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


if __name__ == "__main__":
    json.dump(Compiler(Path(sys.argv[1])).schema(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
