#!/usr/bin/env bash
# Dependencies point one way:
#   model <- {api, proto, store, locations} <- node <- bench; {store, locations} <- sim;
#   api <- operator <- e2e.
# Fails with the offending pair.
set -euo pipefail
cd "$(dirname "$0")/../.."

bad=0
forbid() { # forbid CRATE 'extra cargo tree flags' DEPENDENCY...
    local crate=$1 flags=$2 tree
    shift 2
    # shellcheck disable=SC2086
    tree=$(cargo tree --locked --offline -p "$crate" -e normal $flags --prefix none --format '{p}' | cut -d' ' -f1 | sort -u)
    for dependency in "$@"; do
        if grep -qx "$dependency" <<<"$tree"; then
            echo "dependencies: $crate must not depend on $dependency" >&2
            bad=1
        fi
    done
}

forbid murder-model '' tokio murder-api murder-proto murder-store murder-locations murder-node
forbid murder-proto '' tokio murder-api murder-store murder-locations murder-node
forbid murder-api '' tokio murder-proto murder-store murder-locations murder-node
forbid murder-store '' tokio murder-api murder-proto murder-locations murder-node murder-sim
forbid murder-locations '' tokio murder-api murder-proto murder-store murder-node murder-sim
forbid murder-sim '' tokio murder-proto murder-node murder-operator murder-e2e
forbid murder-node '' murder-sim kube k8s-openapi murder-operator murder-e2e
forbid murder-operator '' murder-store murder-proto murder-locations murder-node murder-e2e
forbid murder-operator '--no-default-features' kube k8s-openapi
forbid murder-e2e '' murder-store murder-locations murder-node
[ "$bad" = 0 ] && echo "dependencies: directions hold"
exit "$bad"
