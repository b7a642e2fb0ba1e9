//! What is known about a mesh from outside: its conditions and suspects as last seen, and every write that was seen.

use std::fmt::Write as _;

use rdmamesh_api::RdmaMesh;
use rdmamesh_api::mesh::{Suspect, SuspectKind};
use tokio::time::Instant;

use crate::scenario::ApiWriters;

/// Everything that was observed so far.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The mesh, once it was seen.
    pub mesh: Option<MeshView>,
    /// Writes to RdmaNodes and assignments, oldest first.
    pub writes: Vec<ApiWrite>,
    /// Everybody who came to be suspected, oldest first, also who is not any more.
    pub named: Vec<Naming>,
}

/// A suspect that appeared.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// When it was seen first.
    pub at: Instant,
    /// Who.
    pub suspect: SuspectView,
}

/// Status of a mesh as far as expectations are about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshView {
    /// Conditions that belong to the current spec.
    pub conditions: Vec<ConditionView>,
    /// Who is suspected.
    pub suspects: Vec<SuspectView>,
}

/// A condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConditionView {
    /// Its type.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// When the status last changed, as the status says.
    pub transition: String,
}

/// A suspect.
#[derive(Clone, Debug, PartialEq)]
pub struct SuspectView {
    /// What kind of element.
    pub kind: SuspectKind,
    /// Its name.
    pub name: String,
    /// The other RNIC of a pair.
    pub peer: Option<String>,
    /// One sentence with numbers.
    pub evidence: String,
}

/// One write that a watch has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiWrite {
    /// When it was seen.
    pub at: Instant,
    /// Who wrote.
    pub by: ApiWriters,
    /// Node that the object belongs to.
    pub node: String,
    /// Kind and name of the object.
    pub object: String,
}

impl View {
    /// Takes in the mesh as it is now, and says whether that is news.
    pub fn saw(&mut self, mesh: Option<MeshView>) -> bool {
        let before = self.mesh.as_ref().map(|mesh| mesh.suspects.as_slice());
        let new = mesh.iter().flat_map(|mesh| &mesh.suspects).filter(|now| {
            !before
                .unwrap_or_default()
                .iter()
                .any(|was| was.same_element(now))
        });
        self.named.extend(new.cloned().map(|suspect| Naming {
            at: Instant::now(),
            suspect,
        }));
        let changed = self.mesh != mesh;
        self.mesh = mesh;
        changed
    }
}

impl MeshView {
    /// The condition of a type, if the mesh has it.
    pub fn condition(&self, kind: &str) -> Option<&ConditionView> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }

    /// Suspects as a person reads them.
    pub fn suspect_list(&self) -> String {
        if self.suspects.is_empty() {
            return "nobody is suspected".to_owned();
        }
        let names: Vec<String> = self.suspects.iter().map(SuspectView::label).collect();
        format!("suspected: {}", names.join("; "))
    }
}

impl SuspectView {
    /// `Rnic host1/rxe1 ↔ host3/rxe3`.
    pub fn label(&self) -> String {
        let mut text = format!("{:?} {}", self.kind, self.name);
        if let Some(peer) = &self.peer {
            write!(text, " ↔ {peer}").ok();
        }
        text
    }

    /// Whether both name the same element.
    pub fn same_element(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.peer == other.peer
    }
}

impl From<&Suspect> for SuspectView {
    fn from(suspect: &Suspect) -> Self {
        Self {
            kind: suspect.kind,
            name: suspect.name.clone(),
            peer: suspect.peer.clone(),
            evidence: suspect.evidence.clone(),
        }
    }
}

impl From<&RdmaMesh> for MeshView {
    fn from(mesh: &RdmaMesh) -> Self {
        let Some(status) = &mesh.status else {
            return Self::default();
        };
        let generation = mesh.metadata.generation;
        let current = status
            .conditions
            .iter()
            // A verdict on an older spec says nothing about this one.
            .filter(|condition| condition.observed_generation >= generation);
        Self {
            conditions: current
                .map(|condition| ConditionView {
                    kind: condition.type_.clone(),
                    status: condition.status.clone(),
                    reason: condition.reason.clone(),
                    message: condition.message.clone(),
                    transition: condition.last_transition_time.0.to_string(),
                })
                .collect(),
            suspects: status.suspects.iter().map(SuspectView::from).collect(),
        }
    }
}
