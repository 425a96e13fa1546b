#!/usr/bin/env python3
"""Writes JSON schemas for kubeconform, from the API server that kubectl talks to, and from files of CRDs.

    schemas.py DIR [CRD.yaml…]     DIR gets {kind}_{group}_{version}.json; unknown fields are refused
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

GVK = "x-kubernetes-group-version-kind"
OPEN = "x-kubernetes-preserve-unknown-fields"


def raw(path):
    done = subprocess.run(["kubectl", "get", "--raw", path], check=True, stdout=subprocess.PIPE, timeout=60)
    return json.loads(done.stdout)


def strict(schema):
    """The schema with unknown fields refused, except where any are meant."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    out = {key: strict(value) for key, value in schema.items()}
    fields = out.get("properties")
    if isinstance(fields, dict) and schema.get("type", "object") == "object" and not schema.get(OPEN):
        out.setdefault("additionalProperties", False)
    if out.pop("nullable", False) is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    return out


def name_of(kind, group, version):
    # kubeconform calls the core group by its version.
    return f"{kind.lower()}_{group or version}_{version}.json"


def from_server(out):
    for path, place in raw("/openapi/v3")["paths"].items():
        if not path.startswith(("api/", "apis/")):
            continue
        schemas = raw(place["serverRelativeURL"]).get("components", {}).get("schemas", {})
        closed = strict(schemas)
        for name, schema in schemas.items():
            for gvk in schema.get(GVK, []):
                if f"{gvk['group']}/{gvk['version']}".strip("/") != path.split("/", 1)[1]:
                    continue
                whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed}}
                (out / name_of(gvk["kind"], gvk["group"], gvk["version"])).write_text(json.dumps(whole))


def from_crd(out, path):
    crd = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["spec"]
    for version in crd["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"].update({"metadata": {"type": "object"}, "apiVersion": {"type": "string"}, "kind": {"type": "string"}})
        (out / name_of(crd["names"]["kind"], crd["group"], version["name"])).write_text(json.dumps(schema))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    from_server(out)
    for path in sys.argv[2:]:
        from_crd(out, path)
    print(f"schemas: {len(list(out.glob('*.json')))} kinds in {out}")


if __name__ == "__main__":
    main()
