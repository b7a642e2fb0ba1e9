//! Who was really guilty, where the records say so: for precision and recall, and for nothing else.

use std::collections::BTreeSet;

use rdmamesh_fabric::judge::Ruling;
use serde::{Deserialize, Serialize};

/// The guilty, as the records' owner writes them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Truth {
    /// A list of elements.
    Elements(Vec<Element>),
    /// Lists by kind.
    ByKind {
        /// Links.
        #[serde(default)]
        links: Vec<Element>,
        /// Switches.
        #[serde(default)]
        switches: Vec<Element>,
        /// Hosts.
        #[serde(default)]
        hosts: Vec<Element>,
    },
}

/// One of the guilty.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Element {
    /// A switch or host.
    Name(String),
    /// A switch or host of a simulator that numbers its nodes.
    Number(u64),
    /// A link by its two ends, or a node alone.
    Nodes(Vec<NodeName>),
    /// With its kind; two nodes are a link.
    Kind {
        /// Its nodes.
        nodes: Vec<NodeName>,
    },
}

/// Name or number of a node.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum NodeName {
    /// Name.
    Name(String),
    /// Number.
    Number(u64),
}

/// Nodes of an element in a fixed order: two are a link, whichever way it was written.
type Key = Vec<String>;

impl Element {
    fn key(&self) -> Key {
        let name = |node: &NodeName| match node {
            NodeName::Name(name) => name.clone(),
            NodeName::Number(number) => number.to_string(),
        };
        let mut key = match self {
            Self::Name(name) => vec![name.clone()],
            Self::Number(number) => vec![number.to_string()],
            Self::Nodes(nodes) | Self::Kind { nodes } => nodes.iter().map(name).collect(),
        };
        key.sort_unstable();
        key
    }
}

/// How far verdicts and truth agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Agreement {
    /// Right verdicts among all verdicts; absent without verdicts.
    pub(super) precision: Option<f64>,
    /// Found among the guilty; absent where nobody is.
    pub(super) recall: Option<f64>,
}

impl Truth {
    fn keys(&self) -> BTreeSet<Key> {
        match self {
            Self::Elements(elements) => elements.iter().map(Element::key).collect(),
            Self::ByKind {
                links,
                switches,
                hosts,
            } => [links, switches, hosts]
                .into_iter()
                .flatten()
                .map(Element::key)
                .collect(),
        }
    }

    pub(super) fn agree(&self, ruling: &Ruling) -> Agreement {
        let truth = self.keys();
        let named: BTreeSet<Key> = ruling
            .verdicts
            .iter()
            .map(|verdict| {
                let mut key = verdict.element.nodes.clone();
                key.sort_unstable();
                key
            })
            .collect();
        let right = truth.intersection(&named).count();
        Agreement {
            precision: share(right, named.len()),
            recall: share(right, truth.len()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Agreement {
    /// For people, with what the truth is.
    pub(super) fn text(&self, truth: &Truth) -> String {
        let keys = truth.keys();
        let guilty: Vec<String> = keys.iter().map(|key| key.join("–")).collect();
        let figure = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2}"));
        format!(
            "truth: {}; precision {}, recall {}",
            if guilty.is_empty() {
                "nobody".to_owned()
            } else {
                guilty.join(", ")
            },
            figure(self.precision),
            figure(self.recall)
        )
    }
}
