//! `crds/yaml` is what the Rust types say. `UPDATE_CRDS=1 cargo test -p rdmamesh-api` writes it anew.

use std::fs;
use std::path::Path;

use rdmamesh_api::crds;

#[test]
fn generated_yaml_equals_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    let update = std::env::var_os("UPDATE_CRDS").is_some();
    for (name, crd) in crds::all() {
        let (path, wanted) = (folder.join(name), crds::yaml(&crd));
        if update {
            fs::create_dir_all(&folder).expect("crds/yaml can be made");
            fs::write(&path, &wanted).expect("crds/yaml is writable");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{} differs from the types: run `UPDATE_CRDS=1 cargo test -p rdmamesh-api`",
            path.display()
        );
    }
}

#[test]
fn no_definition_carries_a_format_the_api_server_warns_about() {
    for (name, crd) in crds::all() {
        let text = crds::yaml(&crd);
        assert!(!text.contains("format: uint"), "{name}");
    }
}
