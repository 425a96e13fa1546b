//! The objects that a murder is made of on Kubernetes, built from custom resources and nothing else.
