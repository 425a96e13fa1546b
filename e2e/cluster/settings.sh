# shellcheck shell=bash
# What every script of the cluster shares: places, addresses, and how processes are started and ended.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Built once and kept: outside the checkout, so that a clean checkout starts warm.
cache=${MURDER_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/murder/cluster
bin=$cache/bin
images=$cache/images

# A second cluster beside the first: MURDER_CLUSTER_NAME=b MURDER_CLUSTER_PORT=16444 e2e/cluster/up
suffix=${MURDER_CLUSTER_NAME:+-$MURDER_CLUSTER_NAME}

# What a running cluster writes; `down` removes all of it.
run=/run/murder-cluster$suffix
logs=$run/log pids=$run/pids pki=$run/pki configs=$run/kubeconfig
nodes_disk=$run/nodes          # a folder a node: images, kubelet state; survives node-crash
disks=$run/disks               # tmpfs mounts that the `local` volumes are
shared_volumes=/tmp/hostpath_pv # fixed in the provisioner of the controller manager

# Addresses exist only in the namespaces. Node I is 10.99.0.(10+I) with the pods 10.244.I.0/24.
core=murder$suffix-core               # network namespace: control plane, switch, tests
machine=murder$suffix-node            # murder-node1, murder-node2, ...
control_group=murder-cluster$suffix # in every hierarchy, with a folder a node
node_net=10.99.0 core_ip=10.99.0.1
pod_net=10.244 service_cidr=10.96.0.0/16
api_service_ip=10.96.0.1 dns_service_ip=10.96.0.10
api_port=6443
host_port=${MURDER_CLUSTER_PORT:-16443} # the API on 127.0.0.1 of this machine

# How soon a dead node is noticed, and how long its pods are kept. Kubernetes' own: 40, 40s and 300.
lease_seconds=${MURDER_CLUSTER_LEASE:-8}
grace=${MURDER_CLUSTER_GRACE:-8s}
toleration=${MURDER_CLUSTER_TOLERATION:-5}
verbosity=${MURDER_CLUSTER_V:-1}

began=${began:-$(date +%s%N)}
say() { printf '%6d ms  %s\n' $((($(date +%s%N) - began) / 1000000)) "$*" >&2; }
fail() { echo "cluster: $*" >&2; exit 1; }

# Not `ip netns exec`: it mounts a new /sys, and the control groups are gone from it.
within() { local ns=$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }

# launch NAME CMD...: in the background, with a log and a recorded pid. The cluster outlives its maker's
# terminal, hence setsid. `exec` keeps the pid the program's own.
launch() {
  local name=$1; shift
  setsid "$@" >>"$logs/$name.log" 2>&1 </dev/null &
  echo $! >"$pids/$name"
}
launch_within() { local ns=$1 name=$2; shift 2; launch "$name" nsenter --net="/run/netns/$ns" -- "$@"; }

# Only what was started here is ended: a recorded pid that still runs one of our programs.
halt() {
  local file=$pids/$1 pid program
  [ -f "$file" ] || return 0
  pid=$(cat "$file"); rm -f "$file"
  program=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 0
  case ${program##*/} in kubernetes | socat* | unshare) ;; *) return 0 ;; esac
  kill -KILL "$pid" 2>/dev/null
  await 5 gone "$pid"
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# await SECONDS CMD...: until it succeeds; its last failure is shown.
await() {
  local until=$((SECONDS + $1)); shift
  while ! "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || { "$@"; return; }
    sleep 0.1
  done
}

# A node is the child of `unshare`: PID 1 of its own PID namespace.
power_off() {
  local parent child
  parent=$(cat "$pids/node$1" 2>/dev/null) || return 1
  child=$(cat "/proc/$parent/task/$parent/children" 2>/dev/null)
  # shellcheck disable=SC2086
  [ -z "$child" ] || kill -KILL $child
  await 20 gone "$parent"
  rm -f "$pids/node$1"
}
power_on() {
  launch_within "$machine$1" "node$1" \
    unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc "$here/node" "$1"
}

# in_node I CMD...: with the node's mounts, processes and network, as a shell on it would be.
in_node() {
  local parent child i=$1; shift
  parent=$(cat "$pids/node$i" 2>/dev/null) || fail "node $i is not running"
  child=$(cat "/proc/$parent/task/$parent/children")
  nsenter --target "${child%% *}" --mount --pid --net --uts --ipc -- "$@"
}

kubectl() { KUBECONFIG=$configs/inside within $core "$bin/kubectl" "$@"; }
is_up() { [ -e "$run/up" ]; }
count() { cat "$run/count" 2>/dev/null || echo 0; }
need_root() { [ "$(id -u)" = 0 ] || fail "needs root: it makes network and mount namespaces"; }
