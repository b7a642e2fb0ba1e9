//! OCI archives: layers, configuration, manifest and index in one tar file, which containerd, podman, skopeo and
//! (from 25 on, by the `manifest.json` beside the index) Docker load.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_REF_NAME, Arch, ConfigBuilder, Descriptor, DescriptorBuilder,
    Digest, HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder,
    MediaType, OciLayoutBuilder, Os, PlatformBuilder, RootFsBuilder,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::layer::{Layer, header};

/// Name of an image for containerd.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image that is not written yet.
#[derive(Debug)]
pub(super) struct Image {
    /// Name and tag.
    pub(super) name: String,
    /// RFC 3339.
    pub(super) created: String,
    /// `uid:gid`.
    pub(super) user: String,
    /// The command.
    pub(super) entrypoint: Vec<String>,
    /// Labels of the configuration, annotations of the manifest.
    pub(super) labels: Vec<(String, String)>,
    /// From the bottom up.
    pub(super) layers: Vec<Layer>,
}

/// What goes into the archive, by its digest.
struct Blob {
    descriptor: Descriptor,
    content: Vec<u8>,
}

impl Blob {
    fn new(kind: MediaType, content: Vec<u8>) -> Result<Self> {
        let digest: Digest = sha256(&content).parse().context("a SHA-256 digest")?;
        let descriptor = Descriptor::new(kind, content.len() as u64, digest);
        Ok(Self {
            descriptor,
            content,
        })
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.descriptor.digest().digest())
    }
}

impl Image {
    /// Writes the archive; returns a line that names it.
    pub(super) fn write(&self, path: &Path) -> Result<String> {
        let layers = self
            .layers
            .iter()
            .map(|layer| Blob::new(MediaType::ImageLayerGzip, layer.compressed.clone()))
            .collect::<Result<Vec<_>>>()?;
        let config = Blob::new(MediaType::ImageConfig, self.config()?)?;
        let manifest = Blob::new(MediaType::ImageManifest, self.manifest(&config, &layers)?)?;
        let index = self.index(&manifest)?;
        let docker = self.docker(&config, &layers)?;
        let layout = canonical(
            &OciLayoutBuilder::default()
                .image_layout_version("1.0.0")
                .build()?,
        )?;

        let unfinished = path.with_extension("unfinished");
        let file =
            File::create(&unfinished).with_context(|| format!("create {}", path.display()))?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        let mut files: Vec<(String, &[u8])> = vec![
            ("oci-layout".to_owned(), &layout),
            ("index.json".to_owned(), &index),
            ("manifest.json".to_owned(), &docker),
        ];
        let blobs = layers.iter().chain([&config, &manifest]);
        files.extend(blobs.map(|blob| (blob.path(), &*blob.content)));
        for (name, content) in &files {
            let mut header = header(tar::EntryType::Regular, 0o644, 0);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, *content)
                .with_context(|| format!("write {name}"))?;
        }
        tar.into_inner()
            .and_then(|mut file| file.flush())
            .with_context(|| format!("write {}", path.display()))?;
        std::fs::rename(&unfinished, path).with_context(|| format!("write {}", path.display()))?;
        let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
        Ok(format!(
            "{}  {}  {:.1} MB  {}",
            path.display(),
            self.name,
            bytes as f64 / 1e6,
            manifest.descriptor.digest()
        ))
    }

    fn config(&self) -> Result<Vec<u8>> {
        let labels: HashMap<String, String> = self.labels.iter().cloned().collect();
        let path = "PATH=/usr/sbin:/usr/bin".to_owned();
        let run = ConfigBuilder::default()
            .user(self.user.clone())
            .entrypoint(self.entrypoint.clone())
            .env(vec![path])
            .working_dir("/")
            .labels(labels)
            .build()?;
        let history = self
            .layers
            .iter()
            .map(|layer| {
                HistoryBuilder::default()
                    .created(self.created.clone())
                    .created_by(format!("rig images: {}", layer.from))
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let diff_ids: Vec<String> = self.layers.iter().map(|l| l.diff_id.clone()).collect();
        let config = ImageConfigurationBuilder::default()
            .created(self.created.clone())
            .architecture(Arch::default())
            .os(Os::Linux)
            .config(run)
            .rootfs(
                RootFsBuilder::default()
                    .typ("layers")
                    .diff_ids(diff_ids)
                    .build()?,
            )
            .history(history)
            .build()?;
        canonical(&config)
    }

    fn manifest(&self, config: &Blob, layers: &[Blob]) -> Result<Vec<u8>> {
        let layers: Vec<Descriptor> = layers.iter().map(|blob| blob.descriptor.clone()).collect();
        let annotations: HashMap<String, String> = self.labels.iter().cloned().collect();
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor.clone())
            .layers(layers)
            .annotations(annotations)
            .build()?;
        canonical(&manifest)
    }

    fn index(&self, manifest: &Blob) -> Result<Vec<u8>> {
        let platform = PlatformBuilder::default()
            .architecture(Arch::default())
            .os(Os::Linux)
            .build()?;
        let tag = self.name.rsplit(':').next().unwrap_or_default();
        let annotations = [
            (CONTAINERD_NAME, self.name.as_str()),
            (ANNOTATION_REF_NAME, tag),
            (ANNOTATION_CREATED, self.created.as_str()),
        ];
        let descriptor = DescriptorBuilder::default()
            .media_type(MediaType::ImageManifest)
            .digest(manifest.descriptor.digest().clone())
            .size(manifest.descriptor.size())
            .platform(platform)
            .annotations(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())))
            .build()?;
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![descriptor])
            .build()?;
        canonical(&index)
    }

    /// What `docker load` reads.
    fn docker(&self, config: &Blob, layers: &[Blob]) -> Result<Vec<u8>> {
        let layers: Vec<String> = layers.iter().map(Blob::path).collect();
        canonical(&serde_json::json!([{
            "Config": config.path(), "RepoTags": [self.name], "Layers": layers,
        }]))
    }
}

/// JSON with sorted keys: the same content has the same digest.
fn canonical(document: &impl Serialize) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(document).context("serialise a document")?;
    value.sort_all_objects();
    serde_json::to_vec(&value).context("serialise a document")
}

/// `sha256:` and the digest in hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(content) {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests;
