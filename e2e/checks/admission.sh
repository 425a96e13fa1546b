#!/usr/bin/env bash
# Rows 67 and 68: what the chart's admission policies refuse and let pass, on the API server that kubectl talks to.
# Works in a namespace of its own, with policies for that namespace alone. Exit: 0 all is well, 1 a check failed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
PATH="$PATH:${MURDER_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/murder/cluster/bin"
namespace=admission-check
failures=0
fail() { echo "admission: FAILED: $*" >&2; failures=$((failures + 1)); }
k() { kubectl --namespace "$namespace" --request-timeout 20s "$@"; }
work=$(mktemp -d)
cleanup() {
  kubectl delete --ignore-not-found --wait=false -f "$work/policies.yaml" >/dev/null
  kubectl delete namespace "$namespace" --ignore-not-found --timeout 60s >/dev/null
  rm -rf "$work"
}
trap cleanup EXIT

helm template admission charts/murder-operator --namespace murder-system --kube-version 1.36.0 \
  --set fullnameOverride="$namespace" --set "scope.namespaces={$namespace}" \
  --set admissionPolicies.confirmBackendDelete=true --set admissionPolicies.protectWorkloads=true \
  --show-only templates/admission.yaml >"$work/policies.yaml" || exit 1
kubectl create namespace "$namespace" >/dev/null || exit 1
k apply -f - >/dev/null <<'OBJECTS' || exit 1
apiVersion: murder.rs/v1alpha1
kind: Backend
metadata: {name: be-full}
spec: {clusterRef: {name: none}}
---
apiVersion: murder.rs/v1alpha1
kind: Backend
metadata: {name: be-empty}
spec: {clusterRef: {name: none}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ours, labels: {app.kubernetes.io/managed-by: murder-operator}}
spec:
  replicas: 0
  selector: {matchLabels: {murder.rs/cluster: none}}
  template: {metadata: {labels: {murder.rs/cluster: none}}, spec: {containers: [{name: c, image: none}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: theirs}
spec:
  replicas: 0
  selector: {matchLabels: {app: theirs}}
  template: {metadata: {labels: {app: theirs}}, spec: {containers: [{name: c, image: none}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: owner}
OBJECTS
uid=$(k get configmap owner -o jsonpath='{.metadata.uid}')
k apply -f - >/dev/null <<OBJECTS || exit 1
apiVersion: murder.rs/v1alpha1
kind: Backend
metadata:
  name: be-owned
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: $uid}]
spec: {clusterRef: {name: none}}
OBJECTS
for backend in be-full be-owned; do
  k patch backend "$backend" --subresource status --type merge -p '{"status":{"mailboxes":12}}' >/dev/null || exit 1
done
kubectl apply --server-side -f "$work/policies.yaml" >/dev/null || exit 1

denied() {
  local message=$1
  shift
  if k "$@" >"$work/out" 2>&1; then
    fail "allowed: kubectl $*"
  elif ! grep -qF "$message" "$work/out"; then
    cat "$work/out" >&2
    fail "kubectl $* is not refused with: $message"
  fi
}
allowed() {
  k "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "refused: kubectl $*"; }
}
# A policy takes effect a moment after it is made.
for _ in $(seq 60); do
  k scale statefulset ours --replicas 0 >/dev/null 2>&1 || break
  sleep 0.5
done

ours='ours belongs to the murder operator; change the Backend, Frontend or MurderCluster that it was made from'
denied "$ours" scale statefulset ours --replicas 2
denied "$ours" label statefulset ours a=b
denied "$ours" rollout restart statefulset ours
denied "$ours" delete statefulset ours
allowed scale statefulset theirs --replicas 0
allowed label statefulset theirs a=b

denied 'backend be-full holds 12 mailboxes; to move them away and delete it: kubectl annotate backend be-full murder.rs/confirm-delete=be-full' \
  delete backend be-full --wait=false
allowed annotate backend be-full murder.rs/confirm-delete=be
denied 'backend be-full holds 12 mailboxes' delete backend be-full --wait=false
allowed annotate --overwrite backend be-full murder.rs/confirm-delete=be-full
allowed delete backend be-full --wait=false
allowed delete backend be-empty --wait=false
# What Kubernetes collects by itself is not asked for a confirmation, nor is the end of a namespace.
allowed delete configmap owner
gone() { k wait --for=delete backend/be-owned --timeout 60s >/dev/null 2>&1; }
[ -n "$(k get backend be-owned -o jsonpath='{.metadata.deletionTimestamp}' 2>/dev/null)" ] || gone ||
  fail "be-owned is not deleted with its owner"
kubectl delete namespace "$namespace" --timeout 60s >/dev/null 2>&1 || fail "the namespace does not end"

[ "$failures" = 0 ] || { echo "admission: $failures checks failed" >&2; exit 1; }
echo "admission: all is well"
