// Only files are taken of this module: the definitions of custom resources that our charts make objects of.
// A module of its own, so that it raises nothing in the cluster's.
module murder.rs/e2e/cluster/definitions

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
