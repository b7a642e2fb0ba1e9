//! CEL rules as the schema carries them: what can never work is refused with a sentence that says what
//! to write instead.

use serde_json::{Value, json};

/// One entry of `x-kubernetes-validations`.
pub(crate) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}
