//! The committed CRDs are what the code says.

use std::{fs, path::Path};

#[test]
fn crds_on_disk_are_those_that_the_code_generates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["crds", "charts/onsale-operator-crds/templates"] {
        for (name, text) in onsale_api::crds::manifests().unwrap() {
            let on_disk = fs::read_to_string(root.join(folder).join(&name)).unwrap_or_default();
            assert!(on_disk == text, "{folder}/{name} is not what the code says; run `cargo generate` and commit the result");
        }
    }
}
