#!/usr/bin/env bash
# Checks the charts: schema, rendered objects and rights against golden files, CRDs, alerts, dashboards.
#   e2e/checks/charts.sh [--schemas DIR]     DIR: JSON schemas for kubeconform, {kind}_{group}_{version}.json
#   MURDER_WRITE_GOLDENS=1                   write what is made from something else: CRDs, schema, golden files
# Exit: 0 all is well, 1 a check failed, 2 a program is missing.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
PATH="$PATH:${MURDER_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/murder/cluster/bin"
write=${MURDER_WRITE_GOLDENS:-}
schemas=
if [ "${1:-}" = --schemas ]; then
  schemas=${2:?--schemas needs a directory}
fi
for tool in helm promtool python3 diff; do
  command -v "$tool" >/dev/null || { echo "charts: $tool is missing (Debian's prometheus has promtool; make cluster-tools builds helm)" >&2; exit 2; }
done
python3 -c 'import yaml' 2>/dev/null || { echo "charts: python3-yaml is missing" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fail() { echo "charts: FAILED: $*" >&2; failures=$((failures + 1)); }
operator=charts/murder-operator
cluster=charts/murder-cluster
render() { helm template "$@" --namespace murder-system --kube-version 1.36.0; }

# same NAME MADE KEPT: whether a file is as it is made now; with MURDER_WRITE_GOLDENS it becomes so.
same() {
  if [ -n "$write" ]; then
    mkdir -p "$(dirname "$3")" && cp "$2" "$3"
  elif ! diff -u "$3" "$2" >"$work/diff"; then
    head -40 "$work/diff" >&2
    fail "$1: $3 is not what is made now (MURDER_WRITE_GOLDENS=1 $0 writes it)"
  fi
}

# Made from /crds.
for crd in crds/*.yaml; do
  same "CRDs" "$crd" "$operator/files/crds/${crd##*/}"
done
for crd in "$operator"/files/crds/*.yaml; do
  [ -e "crds/${crd##*/}" ] || fail "CRDs: $crd is not in crds"
done
python3 e2e/checks/chart_schema.py crds >"$work/schema.json" || fail "schema of $cluster"
same "schema" "$work/schema.json" "$cluster/values.schema.json"

for chart in "$operator" "$cluster"; do
  helm lint --strict "$chart" >"$work/lint" 2>&1 || { cat "$work/lint" >&2; fail "helm lint $chart"; }
  # Every set of values has a golden file; `default` is the chart's own.
  for values in default "$chart"/tests/values/*.yaml; do
    name=$(basename "$values" .yaml)
    arguments=()
    [ "$values" = default ] || arguments=(--values "$values")
    render "${chart##*/}" "$chart" "${arguments[@]}" >"$work/all.yaml" 2>"$work/error" || { cat "$work/error" >&2; fail "$chart with values $name"; continue; }
    python3 e2e/checks/rendered.py without-crds "$work/all.yaml" >"$work/rendered.yaml" || fail "$chart with values $name: not YAML"
    python3 e2e/checks/rendered.py restricted "$work/all.yaml" || fail "$chart with values $name: a pod is not as restricted as it must be"
    same "golden file" "$work/rendered.yaml" "$chart/tests/golden/$name.yaml"
    cp "$work/all.yaml" "$work/kubeconform-${chart##*/}-$name.yaml"
  done
done

# Row 40: rights, in a form that shows every one.
for scope in default namespaced monitoring; do
  arguments=()
  [ "$scope" = default ] || arguments=(--values "$operator/tests/values/$scope.yaml")
  render murder-operator "$operator" "${arguments[@]}" >"$work/all.yaml"
  python3 e2e/checks/rendered.py rights "$work/all.yaml" >"$work/rights" || fail "rights ($scope)"
  same "rights" "$work/rights" "$operator/tests/golden/rights-$scope.txt"
done

# Row 42: a typo is refused, at the top and below, with its name in the message.
refused() {
  local chart=$1 word=$2
  shift 2
  if render typo "$chart" "$@" >/dev/null 2>"$work/error"; then
    fail "$chart takes the values $*"
  elif ! grep -q "$word" "$work/error"; then
    cat "$work/error" >&2
    fail "$chart refuses the values $* without naming $word"
  fi
}
refused "$operator" typo --set typo=1
refused "$operator" replica --set replica=3
refused "$operator" enable --set podMonitor.enable=true
refused "$operator" digest --set image.digest=sha256:123
refused "$operator" namespaces --set scope.namespaces=mail
refused "$cluster" typo --set typo=1
refused "$cluster" replica --set cluster.spec.backends.replica=3
refused "$cluster" desiredState --set 'backends[0].name=be-a,backends[0].spec.desiredState=Gone'
refused "$cluster" Fe --set 'frontends[0].name=Fe'
if helm template old "$operator" --kube-version 1.32.0 >/dev/null 2>&1; then
  fail "$operator can be installed on Kubernetes 1.32"
fi

# Row 47: every alert is tested and has a runbook.
promtool check rules "$operator/files/rules.yaml" >"$work/rules" 2>&1 || { cat "$work/rules" >&2; fail "rules"; }
(cd "$operator/tests" && promtool test rules rules_test.yaml) >"$work/rules" 2>&1 || { cat "$work/rules" >&2; fail "tests of rules"; }
python3 e2e/checks/rendered.py alerts "$operator/files/rules.yaml" "$operator/tests/rules_test.yaml" docs/alerts.md || fail "alerts without a test or a runbook"
# Row 69; that they become ConfigMaps is in the golden file `monitoring`.
for dashboard in "$operator"/files/dashboards/*.json; do
  python3 e2e/checks/dashboard.py --list "$dashboard" >/dev/null || fail "$dashboard"
done

if [ -n "$schemas" ]; then
  command -v kubeconform >/dev/null || { echo "charts: kubeconform is missing" >&2; exit 2; }
  for rendered in "$work"/kubeconform-*.yaml; do
    # The schema of CRDs refers to itself and cannot be resolved; the API server checks those.
    kubeconform -strict -summary -skip CustomResourceDefinition \
      -schema-location "$schemas/{{ .ResourceKind }}_{{ .Group }}_{{ .ResourceAPIVersion }}.json" \
      "$rendered" >"$work/kubeconform" 2>&1 || { cat "$work/kubeconform" >&2; fail "kubeconform ${rendered##*/kubeconform-}"; }
  done
fi

if [ "$failures" -gt 0 ]; then
  echo "charts: $failures checks failed" >&2
  exit 1
fi
echo "charts: all is well${schemas:+ (with kubeconform)}"
