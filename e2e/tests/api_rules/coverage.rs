//! The table of examples names every rule of the generated definitions, and no rule that is not there.

use std::collections::BTreeSet;

use rdmamesh_api::crds;
use serde_json::Value;

use crate::rules::{CEL, Kind, SCHEMA};

/// A rule: definition, place in the schema, message or keyword.
type Rule = (Kind, String, String);

/// Every CEL rule of the definitions.
pub fn cel_rules() -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for (kind, root) in definitions() {
        visit(&root, "", &mut |path, node| {
            let validations = node["x-kubernetes-validations"].as_array();
            for validation in validations.into_iter().flatten() {
                let message = validation["message"].as_str().unwrap_or_default();
                rules.insert((kind, path.to_owned(), message.to_owned()));
            }
        });
    }
    rules
}

/// Constraints of a user's spec that the table must name: those that are about meaning, not about size.
fn schema_rules() -> BTreeSet<(String, &'static str)> {
    let mut rules = BTreeSet::new();
    for (kind, root) in definitions() {
        if kind != Kind::RdmaMesh {
            continue;
        }
        visit(&root["properties"]["spec"], "spec", &mut |path, node| {
            if path.starts_with("spec.nodeSelector") {
                return;
            }
            for keyword in ["enum", "minItems", "required"] {
                if node.get(keyword).is_some() {
                    rules.insert((path.to_owned(), keyword));
                }
            }
            match node["x-kubernetes-list-type"].as_str() {
                Some("map") => drop(rules.insert((path.to_owned(), "list-type map"))),
                Some("set") => drop(rules.insert((path.to_owned(), "list-type set"))),
                _ => {}
            }
        });
    }
    rules
}

fn definitions() -> Vec<(Kind, Value)> {
    crds::all()
        .into_iter()
        .filter_map(|(_, crd)| {
            let kind = match crd.spec.names.kind.as_str() {
                "RdmaMesh" => Kind::RdmaMesh,
                "RdmaProbeAssignment" => Kind::RdmaProbeAssignment,
                // Written by agents only, and without a rule: checked below.
                _ => {
                    assert!(!crds::yaml(&crd).contains("x-kubernetes-validations"));
                    return None;
                }
            };
            let schema = crd
                .spec
                .versions
                .first()?
                .schema
                .as_ref()?
                .open_api_v3_schema
                .as_ref()?;
            Some((
                kind,
                serde_json::to_value(schema).expect("a schema is plain data"),
            ))
        })
        .collect()
}

fn visit(node: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
    see(path, node);
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        let inner = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        visit(child, &inner, see);
    }
    if node["items"].is_object() {
        visit(&node["items"], &format!("{path}[]"), see);
    }
    if node["additionalProperties"].is_object() {
        visit(&node["additionalProperties"], &format!("{path}{{}}"), see);
    }
}

/// Every rule has exactly one example, every example its rule.
pub fn every_rule_has_an_example() {
    let rules = cel_rules();
    assert!(
        rules.len() > 30,
        "only {} rules found: the walk is broken",
        rules.len()
    );
    for (kind, path, message) in &rules {
        let examples = CEL
            .iter()
            .filter(|case| {
                case.kind == *kind && case.path == path && message.starts_with(case.rule)
            })
            .count();
        assert_eq!(
            examples, 1,
            "{kind:?} {path}: \"{message}\" has {examples} examples in rules.rs"
        );
    }
    assert_eq!(
        CEL.len(),
        rules.len(),
        "rules.rs has an example of a rule that is gone"
    );
    for (path, keyword) in schema_rules() {
        let there = SCHEMA
            .iter()
            .any(|case| case.path == path && case.rule == keyword);
        assert!(there, "{path}: {keyword} has no example in rules.rs");
    }
}

/// A message that only says "must be valid" helps nobody: each says what to write.
pub fn every_message_is_a_sentence_that_helps() {
    for (_, path, message) in cel_rules() {
        assert!(
            message.len() >= 40,
            "{path}: \"{message}\" is too short to help"
        );
        let helps = [
            "for example",
            "must be",
            "set ",
            "write ",
            "remove ",
            "raise ",
            "needs",
            "consists of",
            "choose",
        ];
        assert!(
            helps.iter().any(|word| message.contains(word)),
            "{path}: \"{message}\""
        );
    }
}
