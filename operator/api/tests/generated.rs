//! What is committed is what the code says.

use std::{fs, path::Path};

#[test]
fn generated_files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, text) in onsale_api::generated::files().unwrap() {
        let on_disk = fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(on_disk == text, "{path} is not what the code says; run `cargo generate` and commit the result");
    }
}
