//! temp
#![allow(missing_docs)]
#[derive(Default)]
pub struct DrainProgress;
pub fn orphan_conditions(
    _k: &str,
    _c: &str,
    _g: Option<i64>,
    _p: Option<&[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]>,
    _n: jiff::Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    Vec::new()
}
