use super::*;

const MANIFESTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: a}
rules: [{apiGroups: [rdmamesh.io], resources: [rdmanodes, rdmanodes/status], verbs: [patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: a}
subjects: [{kind: ServiceAccount, name: rdmamesh-agent, namespace: rdmamesh-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: l, namespace: x}
rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: l, namespace: x}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: l}
subjects: [{kind: ServiceAccount, name: rdmamesh-operator, namespace: rdmamesh-system}]
";

fn right(group: &str, resource: &str, verb: &str, namespace: Option<&str>) -> Right {
    Right {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
        namespace: namespace.map(str::to_owned),
    }
}

fn event(account: &str, verb: &str, object: &str, code: u16) -> String {
    format!(
        r#"{{"verb":"{verb}","user":{{"username":"system:serviceaccount:{account}"}},"objectRef":{object},"responseStatus":{{"code":{code}}}}}"#
    )
}

#[test]
fn a_role_gives_every_verb_on_every_resource_to_those_bound_to_it() {
    let rights = granted(MANIFESTS).expect("the manifests are well-formed");
    let agent: Vec<String> = rights["rdmamesh-agent"]
        .iter()
        .map(Right::to_string)
        .collect();
    assert_eq!(
        agent,
        [
            "patch rdmamesh.io/rdmanodes",
            "patch rdmamesh.io/rdmanodes/status"
        ]
    );
    let lease = right("coordination.k8s.io", "leases", "get", Some("x"));
    assert_eq!(rights["rdmamesh-operator"], BTreeSet::from([lease]));
}

#[test]
fn a_binding_to_a_role_that_is_not_there_is_an_error() {
    let dangling = MANIFESTS.replace(
        "kind: Role\nmetadata: {name: l,",
        "kind: Role\nmetadata: {name: m,",
    );
    let error = granted(&dangling).expect_err("the role is gone");
    assert!(error.to_string().contains("role l"), "{error}");
}

#[test]
fn an_apply_that_creates_uses_create_and_patch() {
    let object = r#"{"apiGroup":"rdmamesh.io","resource":"rdmanodes","name":"host1"}"#;
    let mut requests = BTreeMap::new();
    used(
        &event("rdmamesh-system:rdmamesh-agent", "patch", object, 200),
        &mut requests,
    );
    let patch = right("rdmamesh.io", "rdmanodes", "patch", None);
    assert_eq!(
        requests["rdmamesh-agent"].allowed,
        BTreeSet::from([patch.clone()])
    );
    used(
        &event("rdmamesh-system:rdmamesh-agent", "patch", object, 201),
        &mut requests,
    );
    let create = right("rdmamesh.io", "rdmanodes", "create", None);
    assert_eq!(
        requests["rdmamesh-agent"].allowed,
        BTreeSet::from([patch, create])
    );
}

#[test]
fn a_refused_request_is_no_use_and_others_accounts_are_not_ours() {
    let object = r#"{"resource":"secrets","namespace":"default"}"#;
    let log = [
        event("rdmamesh-system:rdmamesh-agent", "list", object, 403),
        event("default:somebody", "list", object, 200),
        r#"{"verb":"get","user":{"username":"system:serv"#.to_owned(),
    ]
    .join("\n");
    let mut requests = BTreeMap::new();
    used(&log, &mut requests);
    assert_eq!(requests.keys().collect::<Vec<_>>(), ["rdmamesh-agent"]);
    let listed = right("", "secrets", "list", Some("default"));
    assert_eq!(
        requests["rdmamesh-agent"].forbidden,
        BTreeSet::from([listed.clone()])
    );
    assert!(requests["rdmamesh-agent"].allowed.is_empty());
    let by_policy = event("rdmamesh-system:rdmamesh-agent", "list", object, 403).replacen(
        '{',
        r#"{"annotations":{"authorization.k8s.io/decision":"allow"},"#,
        1,
    );
    used(&by_policy, &mut requests);
    assert_eq!(requests["rdmamesh-agent"].refused, BTreeSet::from([listed]));
}

#[test]
fn what_is_granted_and_not_used_is_named() {
    let (a, b) = (right("g", "r", "get", None), right("g", "r", "list", None));
    let granted = BTreeSet::from([a.clone(), b.clone()]);
    let used = BTreeSet::from([a]);
    assert_eq!(unused(&granted, &used).collect::<Vec<_>>(), [&b]);
}

#[test]
fn what_a_test_asks_in_an_accounts_name_and_what_the_server_failed_at_is_no_use() {
    let object = r#"{"resource":"nodes"}"#;
    let account = "rdmamesh-system:rdmamesh-agent";
    let failed = event(account, "get", object, 500);
    let by_test = event(account, "get", object, 403).replacen(
        '{',
        r#"{"userAgent":"rdmamesh-e2e/0.1.0","#,
        1,
    );
    let mut requests = BTreeMap::new();
    used(&[failed, by_test].join("\n"), &mut requests);
    let nothing = requests.values().all(|of| *of == Requests::default());
    assert!(nothing, "{requests:?}");
}
