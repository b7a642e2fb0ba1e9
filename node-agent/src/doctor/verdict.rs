//! The results in one condition, for `kubectl describe` and `kubectl wait`.

use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rdmamesh_api::condition::DOCTOR_PASSED;
use rdmamesh_api::node::{DoctorOutcome, DoctorResult};

use crate::publish::condition;

/// `True` when nothing fails; the message of `False` says what does and what to do.
pub fn condition_of(results: &[DoctorResult], now: SystemTime, before: &[Condition]) -> Condition {
    let of = |outcome: DoctorOutcome| results.iter().filter(move |r| r.outcome == outcome);
    let failed: Vec<String> = of(DoctorOutcome::Fail).map(sentence).collect();
    let warned: Vec<String> = of(DoctorOutcome::Warn).map(sentence).collect();
    let (status, reason, message) = if !failed.is_empty() {
        ("False", "ChecksFailed", failed.join("; "))
    } else if !warned.is_empty() {
        ("True", "PassedWithWarnings", warned.join("; "))
    } else {
        let message = format!("all {} checks passed", results.len());
        ("True", "ChecksPassed", message)
    };
    condition(
        (DOCTOR_PASSED, status),
        (reason, message),
        None,
        now,
        before,
    )
}

/// One result as people read it.
fn sentence(result: &DoctorResult) -> String {
    let remedy = result.remedy.as_deref();
    let todo = remedy.map(|remedy| format!(" (to do: {remedy})"));
    let todo = todo.unwrap_or_default();
    format!("{}: {}{todo}", result.check, result.message)
}
