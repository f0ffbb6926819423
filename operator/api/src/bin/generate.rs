//! `cargo generate`: writes every file that is derived from the code.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["crds", "charts/onsale-operator-crds/templates"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder)?;
        for (name, text) in onsale_api::crds::manifests()? {
            fs::write(folder.join(name), text)?;
        }
    }
    Ok(())
}
