//! What somebody may do against what they do: roles as the chart renders them, requests as the API server's audit log
//! has them, and the difference. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use serde::Deserialize;
use serde_json::Value;

use crate::control_plane::credentials::{NAMESPACE, USER_AGENT};

/// One thing that can be allowed or done: a verb on a resource, in a namespace where the resource has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group, empty for the core one.
    pub group: String,
    /// Resource with its subresource, e.g. `rdmanodes/status`.
    pub resource: String,
    /// E.g. `patch`.
    pub verb: String,
    /// `None`: the resource is cluster-scoped, or allowed everywhere.
    pub namespace: Option<String>,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let group = if self.group.is_empty() {
            "core"
        } else {
            &self.group
        };
        write!(f, "{} {group}/{}", self.verb, self.resource)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// Rights by service account of the product's namespace.
pub type Rights = BTreeMap<String, BTreeSet<Right>>;

/// What the rendered manifests allow each service account.
///
/// # Errors
/// When they cannot be parsed.
pub fn granted(manifests: &str) -> Result<Rights> {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(manifests).context("parse the manifests")?;
    let mut roles = Roles::default();
    for object in &objects {
        roles.take(object)?;
    }
    let mut rights = Rights::new();
    for (account, kind, role, namespace) in roles.bound {
        let rules = roles
            .rules
            .get(&(kind, role.clone(), namespace.clone()))
            .with_context(|| {
                format!("{account} is bound to the role {role}, which is not there")
            })?;
        let own = rights.entry(account).or_default();
        for rule in rules {
            own.extend(expand(rule, namespace.as_deref()));
        }
    }
    Ok(rights)
}

/// Kind of the role, its name, and its namespace.
type RoleKey = (String, String, Option<String>);

#[derive(Default)]
struct Roles {
    rules: BTreeMap<RoleKey, Vec<PolicyRule>>,
    /// Service account, kind of the role, its name, its namespace.
    bound: Vec<(String, String, String, Option<String>)>,
}

impl Roles {
    fn take(&mut self, object: &Value) -> Result<()> {
        let read = || format!("read {object}");
        match object["kind"].as_str() {
            Some("ClusterRole") => {
                let role: ClusterRole =
                    serde_json::from_value(object.clone()).with_context(read)?;
                let name = role.metadata.name.unwrap_or_default();
                let key = ("ClusterRole".to_owned(), name, None);
                self.rules.insert(key, role.rules.unwrap_or_default());
            }
            Some("Role") => {
                let role: Role = serde_json::from_value(object.clone()).with_context(read)?;
                let name = role.metadata.name.unwrap_or_default();
                let key = ("Role".to_owned(), name, role.metadata.namespace);
                self.rules.insert(key, role.rules.unwrap_or_default());
            }
            Some("ClusterRoleBinding") => {
                let binding: ClusterRoleBinding =
                    serde_json::from_value(object.clone()).with_context(read)?;
                for subject in binding.subjects.unwrap_or_default() {
                    let role = &binding.role_ref;
                    let bound = (subject.name, role.kind.clone(), role.name.clone(), None);
                    self.bound.push(bound);
                }
            }
            Some("RoleBinding") => {
                let binding: RoleBinding =
                    serde_json::from_value(object.clone()).with_context(read)?;
                for subject in binding.subjects.unwrap_or_default() {
                    let role = &binding.role_ref;
                    let namespace = binding.metadata.namespace.clone();
                    self.bound.push((
                        subject.name,
                        role.kind.clone(),
                        role.name.clone(),
                        namespace,
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn expand<'a>(
    rule: &'a PolicyRule,
    namespace: Option<&'a str>,
) -> impl Iterator<Item = Right> + use<'a> {
    let groups = rule.api_groups.iter().flatten();
    groups.flat_map(move |group| {
        let resources = rule.resources.iter().flatten();
        resources.flat_map(move |resource| {
            rule.verbs.iter().map(move |verb| Right {
                group: group.clone(),
                resource: resource.clone(),
                verb: verb.clone(),
                namespace: namespace.map(str::to_owned),
            })
        })
    })
}

/// The part of an audit event (audit.k8s.io/v1) that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What the roles said to a request; admission comes after that.
const DECISION: &str = "authorization.k8s.io/decision";

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    api_group: String,
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

/// Requests of one service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// What the API server allowed.
    pub allowed: BTreeSet<Right>,
    /// What no role gave, or seemed to give: an API server that has just started does not know the roles yet.
    pub forbidden: BTreeSet<Right>,
    /// What a role gave and an admission policy refused.
    pub refused: BTreeSet<Right>,
}

/// What each service account of the product's namespace asked for, from an audit log (JSON lines). Left out are a last
/// line that is cut off, what tests ask in the name of an account, and requests that failed before or after it was
/// decided whether they are allowed.
///
/// Server-side apply of an object that does not exist is authorised twice, as a patch and as a create, but is one event
/// with the verb patch: an answer of 201 counts as both.
pub fn used(log: &str, into: &mut BTreeMap<String, Requests>) {
    let prefix = format!("system:serviceaccount:{NAMESPACE}:");
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            continue;
        };
        let Some(account) = event.user.username.strip_prefix(&prefix) else {
            continue;
        };
        if event.user_agent.starts_with(USER_AGENT) {
            continue;
        }
        let Some(ObjectRef {
            api_group,
            resource: Some(resource),
            subresource,
            namespace,
            name,
        }) = event.object_ref
        else {
            // Discovery, health: open to everybody who is signed in.
            continue;
        };
        let resource = match subresource {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource,
        };
        let code = event.response_status.and_then(|status| status.code);
        let given = event.annotations.get(DECISION).map(String::as_str) == Some("allow");
        let right = Right {
            group: api_group,
            resource,
            verb: event.verb,
            namespace,
        };
        let requests = into.entry(account.to_owned()).or_default();
        match code {
            Some(403) if given => {
                requests.refused.insert(right);
            }
            Some(403) => {
                requests.forbidden.insert(right);
            }
            Some(201) if right.verb == "patch" && name.is_some() => {
                let create = Right {
                    verb: "create".to_owned(),
                    ..right.clone()
                };
                requests.allowed.extend([right, create]);
            }
            Some(200..=399 | 404 | 409..=422) => {
                requests.allowed.insert(right);
            }
            _ => {}
        }
    }
}

/// Rights that are granted and were never used.
pub fn unused<'a>(
    granted: &'a BTreeSet<Right>,
    used: &'a BTreeSet<Right>,
) -> impl Iterator<Item = &'a Right> {
    granted.iter().filter(|right| !used.contains(right))
}

#[cfg(test)]
mod tests;
