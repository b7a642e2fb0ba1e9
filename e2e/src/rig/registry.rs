//! Who is registered with the API server: every RNIC with its GIDs, queue pairs and group, and when it was last
//! heard of.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use kube::api::{Api, ListParams};
use rdmamesh_api::assignment::RdmaProbeAssignment;
use rdmamesh_api::node::RdmaNode;

use super::Rig;

/// One RNIC port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Node.
    pub node: String,
    /// RDMA device, with the port unless it is the first.
    pub device: String,
    /// State of the port.
    pub state: String,
    /// GIDs with their index.
    pub gids: Vec<String>,
    /// Queue pairs that answer probes.
    pub qpns: Vec<u32>,
    /// Its group, once a mesh has given it one.
    pub group: Option<String>,
    /// When the agent last wrote its inventory, RFC 3339.
    pub last_seen: Option<String>,
}

impl Rig {
    /// All registered RNICs by node and device.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn registry(&self) -> Result<Vec<Registered>> {
        let nodes: Api<RdmaNode> = Api::all(self.client());
        let assignments: Api<RdmaProbeAssignment> = Api::all(self.client());
        let params = ListParams::default();
        let assignments = assignments
            .list(&params)
            .await
            .context("list assignments")?;
        let groups: Groups = assignments.into_iter().flat_map(groups_of).collect();
        let nodes = nodes.list(&params).await.context("list inventories")?;
        Ok(nodes
            .into_iter()
            .flat_map(|node| of_node(node, &groups))
            .collect())
    }
}

/// Group by node, device and port.
type Groups = BTreeMap<(String, String, u8), String>;

fn groups_of(assignment: RdmaProbeAssignment) -> Vec<((String, String, u8), String)> {
    let node = assignment.metadata.name.unwrap_or_default();
    let rnics = assignment
        .spec
        .meshes
        .into_iter()
        .flat_map(|mesh| mesh.rnics);
    rnics
        .map(|rnic| ((node.clone(), rnic.device, rnic.port), rnic.group))
        .collect()
}

fn of_node(node: RdmaNode, groups: &Groups) -> Vec<Registered> {
    let name = node.metadata.name.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let last_seen = status.reported_at.map(|time| time.0.to_string());
    let rnic = |port: rdmamesh_api::node::PortStatus| Registered {
        group: groups
            .get(&(name.clone(), port.device.clone(), port.port))
            .cloned(),
        node: name.clone(),
        device: if port.port == 1 {
            port.device
        } else {
            format!("{}:{}", port.device, port.port)
        },
        state: port.state,
        gids: port
            .gids
            .iter()
            .map(|gid| format!("{}={}", gid.index, gid.gid))
            .collect(),
        qpns: port.qpns,
        last_seen: last_seen.clone(),
    };
    status.ports.into_iter().map(rnic).collect()
}

/// Numbers in a row are written `17-32`.
fn ranges(numbers: &[u32]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|one, next| one + 1 == *next);
    let texts = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    texts.collect::<Vec<_>>().join(",")
}

/// The registry as a table for people.
pub fn table(rows: &[Registered]) -> String {
    let mut cells = vec![
        [
            "NODE",
            "DEVICE",
            "STATE",
            "GROUP",
            "LAST SEEN",
            "QPNS",
            "GIDS",
        ]
        .map(str::to_owned),
    ];
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "<none>".to_owned());
    cells.extend(rows.iter().map(|row| {
        [
            row.node.clone(),
            row.device.clone(),
            row.state.clone(),
            or_none(&row.group),
            or_none(&row.last_seen),
            ranges(&row.qpns),
            row.gids.join(" "),
        ]
    }));
    let mut widths = [0; 7];
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for line in &cells {
        let mut out = String::new();
        for (width, cell) in widths.iter().zip(line) {
            // Writing to a String cannot fail.
            write!(out, "{cell:<width$}   ").ok();
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_says_what_is_missing() {
        let row = Registered {
            node: "host1".into(),
            device: "rxe1".into(),
            state: "Active".into(),
            gids: vec!["0=fe80::1".into(), "1=::ffff:10.10.1.2".into()],
            qpns: vec![21, 17, 18, 19],
            group: None,
            last_seen: Some("2026-11-21T11:00:00Z".into()),
        };
        let text = table(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("GROUP"), lines[1].find("<none>"));
        assert!(
            lines[1].ends_with("17-19,21   0=fe80::1 1=::ffff:10.10.1.2"),
            "{text}"
        );
    }
}
