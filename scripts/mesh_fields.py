"""Writes sloctl/mesh/fields.json: which fields Istio's and the Gateway API's objects have, from their CRDs.

    go mod download -json istio.io/api@v1.32.0      # says the folder (Dir)
    python scripts/mesh_fields.py DIR/kubernetes/customresourcedefinitions.gen.yaml GATEWAY_API_CRDS.yaml

The Gateway API's CRDs are those of its release (standard-install.yaml). Both are under the Apache License 2.0; names of
fields and their values are all that is taken. A mapping is an object by fields ("*": any key), a list holds the form of
its items, a text has the values that are allowed, 1 is anything.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parents[1] / "sloctl/mesh/fields.json"


def form(schema: dict[str, Any]) -> Any:
    """A CRD's schema, without all but names and allowed values."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return 1
    if "properties" in schema:
        return {name: form(value) for name, value in sorted(schema["properties"].items())}
    if schema.get("type") == "array":
        return [form(schema["items"])]
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return {"*": form(more)}
    return " ".join(map(str, schema["enum"])) if "enum" in schema else 1


def main() -> None:
    """Write the file."""
    kinds: dict[str, Any] = {}
    versions: dict[str, list[str]] = {}
    sources: list[str] = []
    for name in sys.argv[1:]:
        path = Path(name).resolve()
        text = path.read_text(encoding="utf-8")
        bundle = re.search(r"gateway\.networking\.k8s\.io/bundle-version: (\S+)", text)
        module = re.search(r"/(istio\.io/api)@(v[0-9.]+)/", str(path))
        if bundle:
            sources.append(f"Gateway API {bundle[1]}")
        elif module:
            sources.append(f"{module[1]} {module[2]}")
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
            if not document or document["kind"] != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            if "x-k8s" in spec["group"]:
                continue
            key = f"{spec['group']}/{spec['names']['kind']}"
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]["properties"].get("spec")
                if schema is not None:
                    kinds[key] = form(schema)
                    versions.setdefault(key, []).append(version["name"])
    lines = [f"{json.dumps(key)}: {json.dumps(kinds[key], separators=(',', ':'))}" for key in sorted(kinds)]
    said = ",\n".join(f"  {line}" for line in lines)
    known = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps(sorted(versions[key]))}" for key in sorted(versions)
    )
    head = f'"from": {json.dumps(sources)},\n"license": "Apache-2.0"'
    TARGET.write_text(
        f'{{{head},\n"versions": {{\n{known}\n}},\n"kinds": {{\n{said}\n}}}}\n', encoding="utf-8"
    )


if __name__ == "__main__":
    main()
