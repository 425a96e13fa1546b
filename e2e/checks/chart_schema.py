#!/usr/bin/env python3
"""Writes the values.schema.json of charts/murder-cluster, with the fields that the CRDs have.

    chart_schema.py CRDS_DIR      the schema on standard output
"""

import json
import sys
from pathlib import Path

import yaml

KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "description")


def convert(schema):
    """A JSON schema of a CRD's, in which a field that does not exist is an error."""
    out = {key: schema[key] for key in KEPT if key in schema}
    for key in ("minimum", "maximum"):
        if key in out and out[key] == int(out[key]):
            out[key] = int(out[key])
    if "properties" in schema:
        out["properties"] = {name: convert(field) for name, field in schema["properties"].items()}
        out["additionalProperties"] = False
    if "items" in schema:
        out["items"] = convert(schema["items"])
    return out


def spec(directory, plural):
    """The schema of a kind's spec, without the reference that the chart fills in, and with nothing required."""
    text = (Path(directory) / f"murder.rs_{plural}.yaml").read_text(encoding="utf-8")
    versions = yaml.safe_load(text)["spec"]["versions"]
    fields = convert(versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    fields["properties"].pop("clusterRef", None)
    for field in fields["properties"].values():
        # `null` takes a default of the chart away.
        field["type"] = [field["type"], "null"]
    return fields


def closed(properties, **more):
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = sys.argv[1]
    annotations = {"type": "object", "additionalProperties": {"type": "string"}}
    name = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 40}

    def objects(plural):
        fields = {"name": name, "annotations": annotations, "spec": spec(directory, plural)}
        return {"type": "array", "items": closed(fields, required=["name"])}

    cluster = {
        "name": {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", "maxLength": 40},
        "annotations": annotations,
        "spec": spec(directory, "murderclusters"),
    }
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of murder-cluster",
        **closed(
            {
                "global": {"type": "object", "description": "Shared by charts; not used here"},
                "keep": {"type": "boolean"},
                "cluster": closed(cluster),
                "backends": objects("backends"),
                "frontends": objects("frontends"),
            }
        ),
    }
    json.dump(schema, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
