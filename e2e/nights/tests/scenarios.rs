//! Every night of `e2e/scenarios`, in virtual time: one test for each file. What is decided in it is in `<name>.night.txt` beside it;
//! `ONSALE_UPDATE=1 cargo test -p onsale-nights --test scenarios` writes that anew.
#![expect(clippy::print_stdout, reason = "how long they take is for people")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use cpu_time::ProcessTime;
use libtest_mimic::{Arguments, Failed, Trial};
use onsale_nights::scenario::Scenario;

const REPAIR: &str =
    "if that is what it should do, run `ONSALE_UPDATE=1 cargo test -p onsale-nights --test scenarios` and commit the result";
/// Manifests that the API server must refuse: no night, and read by other tests.
const NO_NIGHT: &str = "bad-manifests.yaml";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = match files(&root.join("e2e/scenarios")) {
        Ok(files) => files,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (nights, texts): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|path| path.extension().is_some_and(|e| e == "yaml"));
    let count = nights.len();
    let mut trials: Vec<Trial> = nights.into_iter().map(|path| trial(path, root.clone())).collect();
    trials.push(Trial::test("every_outcome_has_its_night", move || match texts.iter().find(|text| !night_of(text).exists()) {
        Some(text) => Err(Failed::from(format!("{} has no scenario: remove it", text.display()))),
        None => Ok(()),
    }));
    let began = ProcessTime::now();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    println!("{count} scenarios; the processor was busy with those that ran for {:.1} s", began.elapsed().as_secs_f64());
    conclusion.exit_code()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !path.ends_with(NO_NIGHT)).collect();
    paths.sort();
    if paths.is_empty() { Err(format!("no scenario in {}", folder.display())) } else { Ok(paths) }
}

fn night_of(text: &Path) -> PathBuf {
    text.with_extension("").with_extension("yaml")
}

fn trial(path: PathBuf, root: PathBuf) -> Trial {
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    Trial::test(name, move || play(&path, &root).map_err(Failed::from))
}

fn play(path: &Path, root: &Path) -> Result<(), String> {
    let scenario = Scenario::read(path, root).map_err(|e| e.to_string())?;
    let played = scenario.play().map_err(|e| e.to_string())?;
    if !played.faults.is_empty() {
        let journal = env::var_os("ONSALE_JOURNAL").map(|_| played.state.journal.text()).unwrap_or_default();
        return Err(format!("{}\n\n{}\n{journal}", played.faults.join("\n"), played.outcome));
    }
    let kept = path.with_extension("night.txt");
    if env::var_os("ONSALE_UPDATE").is_some() {
        return fs::write(&kept, &played.outcome).map_err(|e| format!("{}: {e}", kept.display()));
    }
    let before = fs::read_to_string(&kept).unwrap_or_default();
    if before == played.outcome {
        Ok(())
    } else {
        Err(format!("another night than before:\n{}\n{REPAIR}", difference(&before, &played.outcome)))
    }
}

/// Lines that are gone and lines that are new, in order, with those that are the same around them left out.
fn difference(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let gone = old[same..old.len() - end].iter().map(|line| format!("- {line}"));
    let come = new[same..new.len() - end].iter().map(|line| format!("+ {line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}
