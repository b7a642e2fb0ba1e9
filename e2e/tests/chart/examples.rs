//! What people start from.

use anyhow::{Context, Result, ensure};
use kube::api::Api;
use rdmamesh_api::RdmaMesh;
use rdmamesh_e2e::control_plane::manifests;
use rdmamesh_e2e::suite::SharedPlane;

/// Both examples of the chart, against the API server with its rules.
pub fn the_examples_are_accepted(shared: &SharedPlane) -> Result<()> {
    let plane = shared.plane()?;
    let folder = shared.layout.workspace().join("charts/rdmamesh/examples");
    shared.wait(async {
        let client = plane.client().await?;
        let meshes: Api<RdmaMesh> = Api::all(client.clone());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            manifests::apply_text(&client, &text)
                .await
                .with_context(|| path.display().to_string())?;
            let mesh: RdmaMesh = serde_saphyr::from_str(&text)?;
            names.push(mesh.metadata.name.context("an example has a name")?);
        }
        ensure!(names.len() >= 2, "examples: {names:?}");
        for name in names {
            meshes
                .delete(&name, &kube::api::DeleteParams::default())
                .await?;
        }
        Ok(())
    })
}
