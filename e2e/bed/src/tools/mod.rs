//! The programs that the bed runs, built or installed once into the user's cache folder and shared by every checkout.
//!
//! - `mod.rs`: which tools there are, where they lie, `ensure`
//! - `golang.rs`: building one Go tool from its `e2e/tools/*/go.mod`
//! - `python.rs`: the virtual environment of the EC2 emulator
//! - `cache.rs`: the cache folder, keys, and the lock that keeps two processes from building the same

mod cache;
mod golang;
mod python;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::progress::Progress;
use golang::Recipe;

pub use cache::folder as cache_folder;
pub use python::python;

/// Paths of the built programs.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is the program it is named after")]
pub struct Tools {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kube_scheduler: PathBuf,
    pub kubectl: PathBuf,
    pub kwok: PathBuf,
    pub helm: PathBuf,
}

/// Builds what is missing and says where everything lies. The first time takes about ten minutes of two cores; later
/// it only looks. Blocking: call it from `spawn_blocking` or before the runtime has other things to do.
///
/// Errors name the tool and carry the end of the compiler's output.
pub fn ensure(progress: Progress) -> Result<Tools> {
    let recipes = golang::recipes();
    let tools = located(&recipes)?;
    let missing = recipes.iter().filter(|recipe| !recipe.binary().is_ok_and(|path| path.exists())).count();
    if missing > 0 {
        progress.say(&format!(
            "building {missing} of {} tools into {} (once; about 10 minutes on two cores for all of them)",
            recipes.len(),
            cache::folder()?.display()
        ));
        let _lock = cache::lock("tools", progress)?;
        for (number, recipe) in recipes.iter().enumerate() {
            golang::build(recipe, &format!("{} of {}", number + 1, recipes.len()), progress)
                .with_context(|| format!("could not build {}", recipe.name))?;
        }
    }
    Ok(tools)
}

fn located(recipes: &[Recipe]) -> Result<Tools> {
    let at = |name: &str| {
        let recipe = recipes.iter().find(|recipe| recipe.name == name).with_context(|| format!("no recipe for {name}"))?;
        recipe.binary()
    };
    Ok(Tools {
        etcd: at("etcd")?,
        kube_apiserver: at("kube-apiserver")?,
        kube_controller_manager: at("kube-controller-manager")?,
        kube_scheduler: at("kube-scheduler")?,
        kubectl: at("kubectl")?,
        kwok: at("kwok")?,
        helm: at("helm")?,
    })
}

/// The checkout that this crate was compiled from.
pub fn checkout() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}
