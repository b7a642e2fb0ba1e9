//! Keeps a status within the size that the API allows, giving up the least useful parts first.

use rdmamesh_api::RdmaProbeAssignmentStatus;
use rdmamesh_api::assignment::{MAX_ANOMALIES, MAX_STATUS_BYTES, MeshReport};
use serde::Serialize;

/// Anomalies per mesh that are worth more than another mesh's figures.
const WORST_KEPT: usize = 4;
/// Room per mesh for `"anomaliesOmitted":4294967295,`, which appears while anomalies are left out.
const RESERVE_BYTES: usize = 32;

/// Leaves out, until it fits: mild anomalies, figures of RNICs without trouble, silent peers, the rest of the
/// anomalies, the rest of the figures, conditions, and at last whole meshes. Left-out anomalies are counted.
pub(super) fn to_limit(status: &mut RdmaProbeAssignmentStatus) {
    for mesh in &mut status.meshes {
        omit_anomalies(mesh, MAX_ANOMALIES);
    }
    let reserve = RESERVE_BYTES * status.meshes.len();
    let limit = MAX_STATUS_BYTES.saturating_sub(reserve);
    let mut size = size_of_json(status);
    let steps: [fn(&mut MeshReport) -> usize; 6] = [
        |mesh| omit_last_anomaly(mesh, WORST_KEPT),
        omit_quiet_rnic,
        |mesh| mesh.unanswered.pop().map_or(0, |peer| size_of_json(&peer)),
        |mesh| omit_last_anomaly(mesh, 1),
        |mesh| mesh.rnics.pop().map_or(0, |rnic| size_of_json(&rnic)),
        |mesh| {
            mesh.conditions
                .pop()
                .map_or(0, |condition| size_of_json(&condition))
        },
    ];
    for step in steps {
        size = repeat(&mut status.meshes, step, size, limit);
    }
    while size > limit {
        let Some(mesh) = status.meshes.pop() else {
            return;
        };
        size = size.saturating_sub(size_of_json(&mesh));
    }
}

/// Takes from each mesh in turn, so that none loses everything while others keep all.
fn repeat(
    meshes: &mut [MeshReport],
    step: fn(&mut MeshReport) -> usize,
    mut size: usize,
    limit: usize,
) -> usize {
    let mut progress = true;
    while progress && size > limit {
        progress = false;
        for mesh in meshes.iter_mut() {
            if size <= limit {
                break;
            }
            let saved = step(mesh);
            progress |= saved > 0;
            size = size.saturating_sub(saved);
        }
    }
    size
}

fn omit_last_anomaly(mesh: &mut MeshReport, keep: usize) -> usize {
    if mesh.anomalies.len() <= keep {
        return 0;
    }
    let Some(mildest) = mesh.anomalies.pop() else {
        return 0;
    };
    mesh.anomalies_omitted += 1;
    size_of_json(&mildest)
}

fn omit_anomalies(mesh: &mut MeshReport, keep: usize) {
    let over = mesh.anomalies.len().saturating_sub(keep);
    mesh.anomalies.truncate(keep);
    mesh.anomalies_omitted = mesh
        .anomalies_omitted
        .saturating_add(u32::try_from(over).unwrap_or(u32::MAX));
}

fn omit_quiet_rnic(mesh: &mut MeshReport) -> usize {
    let quiet = mesh.rnics.iter().rposition(|rnic| {
        let ill = |anomaly: &rdmamesh_api::assignment::Anomaly| {
            anomaly.device == rnic.device && anomaly.port == rnic.port
        };
        // One stays, so that the mesh has figures at all.
        mesh.rnics.len() > 1 && !mesh.anomalies.iter().any(ill)
    });
    quiet.map_or(0, |position| size_of_json(&mesh.rnics.remove(position)))
}

/// Bytes of JSON; what cannot be written as JSON counts as too large.
pub(super) fn size_of_json(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}
