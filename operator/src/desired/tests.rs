//! The planner's words in the API's.

use serde_json::json;

use super::*;
use crate::fixtures::in_force;

#[test]
fn an_entry_carries_the_plan_whole() {
    let spec = json!({
        "probes": {"torMesh": {"interval": "150ms", "timeout": "250ms"}},
        "trafficClasses": [{"name": "roce", "dscp": 26, "serviceLevel": 3}],
        "thresholds": {"window": "7s", "lossRatio": 0.25, "p99": "900us"},
    });
    let plan = in_force(spec, 3).plan;
    let mesh = DesiredMesh {
        uid: "u".to_owned(),
        plan: Arc::clone(&plan),
    };
    let entry = mesh.entry("m", &"host1".into()).expect("host1 takes part");
    assert_eq!(entry.name, "m");
    let hash = plan.plan_hash(&"host1".into()).expect("host1 takes part");
    assert_eq!(entry.plan_hash, hash.to_string());
    assert_eq!(entry.group, "leaf1");
    assert_eq!(
        (entry.window.to_string(), entry.p99.to_string()),
        ("7s".to_owned(), "900us".to_owned())
    );
    assert_eq!(entry.traffic_classes[0].dscp, 26);
    let tor = entry
        .classes
        .iter()
        .find(|class| class.class.as_str() == "torMesh");
    assert_eq!(
        tor.map(|class| class.timeout.to_string()).as_deref(),
        Some("250ms")
    );
    let target = &entry.rnics[0].targets[0];
    assert_eq!(
        (target.class.as_str(), target.traffic_class.as_str()),
        ("torMesh", "roce")
    );
    assert_eq!(target.gid.as_deref(), Some("::ffff:10.0.0.2"));
    assert_eq!(target.control_address, "10.9.0.2:7475");
    assert_eq!(target.interval.to_string(), "150ms");
    assert_eq!(entry.rnics[0].gid_index, Some(1));
}

#[test]
fn a_node_that_takes_no_part_has_no_entry() {
    let mesh = DesiredMesh {
        uid: "u".to_owned(),
        plan: in_force(json!({}), 2).plan,
    };
    assert!(mesh.entry("m", &"host9".into()).is_none());
}

#[test]
fn an_owner_reference_blocks_no_deletion() {
    let owner = owner("m", "uid-m");
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str()),
        ("RdmaMesh", "uid-m")
    );
    assert_eq!(owner.block_owner_deletion, None);
}
