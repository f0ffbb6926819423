//! The rehearsal plays the whole night: everything Ready when the doors open, everything back at the end.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use std::path::Path;

use jiff::Timestamp;
use onsale_cli::{
    assumed,
    read::{inputs, read},
    rehearsal::{Cut, Night, Play, rehearse},
    world::{Facts, World, world},
};

fn examples(files: &[&str], nodes: &str, at: Timestamp) -> World {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let names: Vec<String> = files.iter().map(|f| folder.join(f).display().to_string()).collect();
    let (texts, mistakes) = inputs(&names, false, &mut std::io::empty());
    let objects = read(&texts, "default");
    assert!(mistakes.is_empty() && objects.mistakes.is_empty(), "{mistakes:?} {:?}", objects.mistakes);
    let mut facts = Facts::default();
    facts.add(&objects.found);
    assert_eq!(assumed::add(&mut facts, &[assumed::parse(nodes).unwrap()], |_| false), Vec::<String>::new());
    world(&facts, at)
}

fn night(world: &World, at: Timestamp) -> Night {
    rehearse(world, &onsale_planner::plan(&world.seen, at), at, Play::All)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn everything_is_ready_when_the_doors_open_and_back_at_the_end() {
    let now = at("2026-12-01T00:00:00Z");
    let world = examples(&["pools.yaml", "shop.yaml", "stadium-tour.yaml"], "phx-dc=20,cpu=20,memory=96Gi", now);
    let night = night(&world, now);
    assert_eq!((&night.cut, night.unplaced.len()), (&None, 0));
    let (_, open) = night.samples.iter().rfind(|(t, _)| *t <= at("2026-12-05T17:00:00Z")).unwrap();
    assert_eq!((open.ready.values().sum::<i32>(), open.nodes.values().sum::<i32>()), (1_260, 20 + 71));
    let (end, last) = night.samples.last().unwrap();
    assert!(*end <= at("2026-12-05T17:31:00Z"), "{end}");
    assert_eq!((last.floors.values().sum::<i32>(), last.nodes.values().sum::<i32>(), last.launching.values().sum::<i32>()), (300, 20, 0));
}

#[test]
fn sales_that_fit_only_one_by_one_are_found_out() {
    let now = at("2026-12-01T00:00:00Z");
    let mut world = examples(&["pools.yaml", "shop.yaml", "stadium-tour.yaml", "minimal.yaml"], "phx-dc=20,cpu=20,memory=96Gi", now);
    for pool in world.seen.pools.iter_mut().filter(|p| p.name.starts_with("oregon")) {
        pool.spec.limits.get_or_insert_default().max_nodes = Some(6);
    }
    let together = onsale_planner::plan(&world.seen, now);
    assert!(together.sales.iter().any(|s| s.unplaced > 0), "their forecasts say so");
    for gone in 0..2 {
        let mut alone = world.seen.clone();
        alone.sales.remove(gone);
        assert!(onsale_planner::plan(&alone, now).sales.iter().all(|s| s.unplaced == 0), "each by itself finds room");
    }
    assert!(!night(&world, now).unplaced.is_empty(), "together they do not");
}

#[test]
fn what_is_too_large_to_be_rehearsed_is_said_to_be() {
    let now = at("2026-12-01T00:00:00Z");
    let mut world = examples(&["pools.yaml", "shop.yaml", "stadium-tour.yaml"], "phx-dc=20,cpu=20,memory=96Gi", now);
    world.seen.sales[0].spec.budget = None;
    world.seen.sales[0].spec.workloads[0].peak_replicas = 9_000;
    world
        .seen
        .pools
        .iter_mut()
        .filter(|p| p.spec.nodes.ec2.is_some())
        .for_each(|p| p.spec.limits.get_or_insert_default().max_nodes = Some(900));
    let night = night(&world, now);
    assert!(night.events.is_empty() && night.cut == Some(Cut::TooLarge));
}

#[test]
fn workloads_of_the_same_name_in_two_namespaces_keep_their_own_pods() {
    let now = at("2026-12-01T00:00:00Z");
    let mut facts = Facts::default();
    for namespace in ["a", "b"] {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{replicas: 2, selector: {{}}, template: {{}}}}\n---\n\
             apiVersion: onsale.dev/v1alpha1\nkind: OnSale\nmetadata: {{name: s, namespace: {namespace}}}\nspec: {{opensAt: \"2026-12-05T10:00:00Z\", workloads: \
             [{{target: {{kind: Deployment, name: web}}, peakReplicas: 3}}]}}\n"
        );
        let input = onsale_cli::read::Input { name: namespace.to_owned(), text };
        let objects = read(&[input], "default");
        assert!(objects.mistakes.is_empty(), "{:?}", objects.mistakes);
        facts.add(&objects.found);
    }
    let seen = world(&facts, now).seen;
    let uids: std::collections::BTreeSet<&str> = seen.workloads.iter().flat_map(|w| &w.pods).map(|p| p.uid.as_str()).collect();
    assert_eq!((seen.workloads.len(), uids.len()), (2, 4));
}
