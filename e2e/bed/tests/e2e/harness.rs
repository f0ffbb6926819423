//! Brings beds up as they are needed, runs tests beside each other, tidies up after each.
//!
//! - `harness.rs`: cases, and what a test stands on
//! - `stage.rs`: the beds, and who may be on which
//! - `tidy.rs`: takes away what a test left; `scene.rs`: what helps when one fails

use std::ops::Deref;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Trial};
use onsale_bed::Bed;

use crate::stage::{Place, Stage};

/// Namespaces that carry this label go away after the test.
pub const TEST: &str = "bed.onsale.dev/test";

/// Whom a test bears while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Company {
    /// Others of its kind on the same bed: it touches only shops of its own, and sets faults and capacity only of instance types or zones that no
    /// other test uses.
    Beside,
    /// Nobody on its bed: it touches what all share there, such as the operator's process, the API server, or every call to the emulator.
    Alone,
    /// Nobody on the machine: a night of thousands of pods, whose pace is judged.
    Quiet,
}

/// One test. Make it with `beside!` or `alone!`.
pub struct Case {
    pub name: String,
    pub company: Company,
    pub run: for<'a> fn(&'a Ground<'a>) -> LocalBoxFuture<'a, Result<()>>,
}

/// A test from `async fn name(bed: &Ground<'_>) -> Result<()>`, named after its file and function.
macro_rules! case {
    ($company:ident, $function:ident) => {
        $crate::harness::Case {
            name: format!("{}::{}", module_path!().rsplit("::").next().unwrap_or_default(), stringify!($function)),
            company: $crate::harness::Company::$company,
            run: |ground| Box::pin($function(ground)),
        }
    };
}
/// A test that runs beside others: see `Company`.
macro_rules! beside {
    ($function:ident) => {
        $crate::harness::case!(Beside, $function)
    };
}
/// A test that runs alone: see `Company`.
macro_rules! alone {
    ($function:ident) => {
        $crate::harness::case!(Alone, $function)
    };
}
/// A test that wants the machine for itself: see `Company`.
macro_rules! quiet {
    ($function:ident) => {
        $crate::harness::case!(Quiet, $function)
    };
}
pub(crate) use {alone, beside, case, quiet};

/// What a test stands on: its bed, the operator there, and a note of the shops that it opened.
pub struct Ground<'a> {
    pub bed: &'a Bed,
    pub place: &'a Place,
    shops: Mutex<Vec<&'static str>>,
}

impl<'a> Ground<'a> {
    /// Without any shop yet.
    pub fn new(bed: &'a Bed, place: &'a Place) -> Self {
        Self { bed, place, shops: Mutex::default() }
    }

    /// Notes a shop, so that it is taken away after the test.
    pub fn opens(&self, shop: &'static str) {
        self.shops.lock().unwrap_or_else(PoisonError::into_inner).push(shop);
    }

    /// The shops that it opened.
    pub fn shops(&self) -> Vec<&'static str> {
        self.shops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Deref for Ground<'_> {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        self.bed
    }
}

/// Runs what the command line asks for.
pub fn run(mut cases: Vec<Case>) -> ExitCode {
    let args = Arguments::from_args();
    // A thread for each: those that may not begin yet wait, in this order. Whoever wants the machine comes last.
    cases.sort_by_key(|case| case.company == Company::Quiet);
    let args = Arguments { test_threads: args.test_threads.or(Some(cases.len())), ..args };
    let stage = match Stage::new() {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = cases.into_iter().map(|case| {
        let stage = stage.clone();
        Trial::test(case.name.clone(), move || stage.play(&case))
    });
    let conclusion = libtest_mimic::run(&args, trials.collect());
    match Arc::into_inner(stage).map_or(Ok(()), Stage::clear) {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
