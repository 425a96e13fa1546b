// Only files are taken of these modules: the definitions of custom resources that our charts and our operator make
// objects of. A module of its own, so that it raises nothing in the cluster's.
module murder.rs/e2e/cluster/definitions

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
