//! README and docs show what the binary says, to the letter. `ONSALE_UPDATE=1 cargo test -p onsale-cli --test readme` writes it there.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const PROMPT: &str = "$ kubectl onsale ";
const REPAIR: &str = "run `ONSALE_UPDATE=1 cargo test -p onsale-cli --test readme` and commit the result";

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn onsale(args: &str, more: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_kubectl-onsale")).current_dir(checkout()).args(args.split(' ')).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The file as it should be; written if it is to be.
fn hold(path: &str, text: &str) {
    let file = checkout().join(path);
    let there = fs::read_to_string(&file).unwrap_or_default();
    if there != text && std::env::var_os("ONSALE_UPDATE").is_some() {
        return fs::write(&file, text).unwrap();
    }
    assert!(there == text, "{path} is not what kubectl onsale says; {REPAIR}");
}

fn readme() -> String {
    fs::read_to_string(checkout().join("README.md")).unwrap()
}

/// The command in the README, without its name.
fn command() -> String {
    let readme = readme();
    let line = readme.lines().find_map(|l| l.strip_prefix(PROMPT)).expect("the README shows kubectl onsale");
    line.to_owned()
}

#[test]
fn the_readme_shows_the_true_output() {
    let (readme, command) = (readme(), command());
    let shown = format!("{PROMPT}{command}\n");
    let (before, rest) = readme.split_once(&shown).unwrap();
    let (_, after) = rest.split_once("```").unwrap();
    hold("README.md", &format!("{before}{shown}{}```{after}", onsale(&command, &[])));
}

#[test]
fn the_picture_in_the_docs_is_the_true_one() {
    hold("docs/plan.svg", &onsale(&command(), &["-o", "svg"]));
}
