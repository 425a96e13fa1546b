#!/usr/bin/env python3
"""Looks at rendered charts.

    rendered.py without-crds FILE   the objects without the CRDs, which have a check of their own
    rendered.py restricted FILE     fails if a pod would break the restricted pod security standard
    rendered.py rights FILE         one line for every right that the operator's account and people's roles get
    rendered.py alerts RULES TESTS RUNBOOKS   fails if an alert has no test or no runbook
"""

import re
import sys
from pathlib import Path

import yaml


def documents(path):
    return [document for document in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")) if document]


def without_crds(path):
    text = Path(path).read_text(encoding="utf-8")
    documents(path)
    parts = re.split(r"(?m)^---\n", text)
    sys.stdout.write("---\n".join(part for part in parts if not re.search(r"(?m)^kind: CustomResourceDefinition$", part)))
    return []


def restricted(path):
    errors = []
    for document in documents(path):
        pod = document.get("spec", {}).get("template", {}).get("spec")
        if document["kind"] not in ("Deployment", "Job") or pod is None:
            continue
        for container in pod.get("containers", []) + pod.get("initContainers", []):
            where = f"{document['kind']} {document['metadata']['name']}, container {container['name']}"
            context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
            wanted = {
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "privileged": False,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            errors += [f"{where}: {key} is {context.get(key)!r}" for key, value in wanted.items() if context.get(key) != value]
    return errors


def rights(path):
    """Wildcards, exec and reading all Secrets are refused whatever the golden file says."""
    errors, lines = [], []
    for document in documents(path):
        if document["kind"] not in ("Role", "ClusterRole"):
            continue
        name = f"{document['kind']} {document['metadata'].get('namespace', '-')}/{document['metadata']['name']}"
        for rule in document["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    named = f" ({', '.join(rule['resourceNames'])})" if "resourceNames" in rule else ""
                    full = f"{resource}.{group}" if group else resource
                    lines.append(f"{name}: {full}{named}: {' '.join(rule['verbs'])}")
                    if "*" in (group, resource) or "*" in rule["verbs"]:
                        errors.append(f"{name}: wildcard in {full}")
                    if full in ("pods/exec", "pods/attach", "serviceaccounts", "serviceaccounts/token"):
                        errors.append(f"{name}: {full}")
                    if full == "secrets" and {"list", "watch"} & set(rule["verbs"]):
                        errors.append(f"{name}: may read all Secrets")
    print("\n".join(lines))
    return errors


def alerts(rules_path, tests_path, runbooks_path):
    rules = [rule for group in documents(rules_path)[0]["groups"] for rule in group["rules"]]
    tested = set()
    for test in documents(tests_path)[0]["tests"]:
        cases = test.get("alert_rule_test", [])
        raised = {case["alertname"] for case in cases if case["exp_alerts"]}
        tested |= {case["alertname"] for case in cases if not case["exp_alerts"]} & raised
    runbooks = Path(runbooks_path).read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"(?m)^#+ (\w+)$", runbooks)}
    errors = []
    for name in (rule["alert"] for rule in rules if "alert" in rule):
        if name not in tested:
            errors.append(f"{name}: no test that it is silent and that it is raised")
        if name.lower() not in headings:
            errors.append(f"{name}: no runbook in {runbooks_path}")
    for rule in rules:
        url = rule.get("annotations", {}).get("runbook_url")
        if "alert" in rule and url != f"docs/alerts.md#{rule['alert'].lower()}":
            errors.append(f"{rule['alert']}: runbook_url is {url}")
    return errors


def main():
    commands = {"without-crds": without_crds, "restricted": restricted, "rights": rights, "alerts": alerts}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    errors = commands[sys.argv[1]](*sys.argv[2:])
    for error in errors:
        print(f"rendered: {error}", file=sys.stderr)
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
