use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::Value;

use super::*;

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir_all(root.path().join("usr/lib")).expect("create");
    std::fs::create_dir_all(root.path().join("tmp")).expect("create");
    std::fs::write(root.path().join("usr/lib/b.so"), "bytes").expect("write");
    std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).expect("link");
    let world = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(root.path().join("tmp"), world).expect("set mode");
    root
}

fn image(root: &Path) -> Image {
    Image {
        name: "rdmamesh.io/x:1".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        user: "65532:65532".to_owned(),
        entrypoint: vec!["/usr/bin/x".to_owned()],
        // More than one, so that an unsorted map would show.
        labels: (0..8).map(|n| (format!("k{n}"), "v".to_owned())).collect(),
        layers: vec![Layer::of_folder(root, 1_000).expect("a layer")],
    }
}

fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut tar = tar::Archive::new(File::open(archive).expect("open the archive"));
    let mut files = BTreeMap::new();
    for entry in tar.entries().expect("a tar file") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        files.insert(name, content);
    }
    files
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().expect("a digest");
    let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(sha256(content), digest);
    assert_eq!(descriptor["size"], content.len());
    content
}

fn json(content: &[u8]) -> Value {
    serde_json::from_slice(content).expect("JSON")
}

#[test]
fn every_digest_of_an_archive_leads_to_its_content() {
    let root = folder();
    let out = tempfile::tempdir().expect("a temporary folder");
    let archive = out.path().join("x.tar");
    image(root.path()).write(&archive).expect("written");
    let files = files(&archive);
    let index = json(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"][CONTAINERD_NAME], "rdmamesh.io/x:1");
    let manifest = json(blob(&files, entry));
    let config = json(blob(&files, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    let layer = blob(&files, &manifest["layers"][0]);
    let mut plain = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(layer);
    gzip.read_to_end(&mut plain).expect("gzip");
    assert_eq!(config["rootfs"]["diff_ids"][0], sha256(&plain));
    let docker = json(&files["manifest.json"]);
    let layer = docker[0]["Layers"][0].as_str().expect("a path");
    assert!(files.contains_key(layer));
}

#[test]
fn entries_belong_to_root_and_keep_only_what_matters() {
    let root = folder();
    let layer = Layer::of_folder(root.path(), 1_000).expect("a layer");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&*layer.compressed));
    let mut seen = Vec::new();
    for entry in tar.entries().expect("a tar file") {
        let entry = entry.expect("an entry");
        let header = entry.header();
        assert_eq!(header.uid().ok(), Some(0));
        assert_eq!(header.mtime().ok(), Some(1_000));
        let path = entry.path().expect("a path").display().to_string();
        seen.push((path, header.mode().expect("a mode")));
    }
    let wanted = [
        ("lib", 0o777),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/lib", 0o755),
        ("usr/lib/b.so", 0o644),
    ];
    let wanted = wanted.map(|(path, mode)| (path.to_owned(), mode));
    assert_eq!(seen, wanted);
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let made: Vec<Vec<u8>> = ["a", "b"]
        .iter()
        .map(|name| {
            let root = folder();
            let path = out.path().join(name);
            image(root.path()).write(&path).expect("written");
            std::fs::read(path).expect("read")
        })
        .collect();
    assert!(made[0] == made[1]);
}
