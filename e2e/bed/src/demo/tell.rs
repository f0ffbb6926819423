//! The headlines: what is happening, and why it matters.

use onsale_api::Phase;

use super::view::{View, span};
use super::world::Scene;

/// Tells each thing once.
#[derive(Debug, Default)]
pub struct Teller {
    phase: Option<Phase>,
    launched: bool,
    raised: bool,
    leaving: bool,
}

impl Teller {
    /// Tells what is new in this scene.
    pub fn tell(&mut self, scene: &Scene, view: &mut View) {
        let phase = scene.sale.phase;
        if phase != self.phase {
            self.phase = phase;
            if let Some((title, why)) = phase.and_then(|phase| of_phase(phase, scene)) {
                view.headline(scene, &title, &why);
            }
        }
        self.tell_events(scene, view);
    }

    fn tell_events(&mut self, scene: &Scene, view: &mut View) {
        let launching: usize = scene.pools.iter().map(|p| p.launching).sum();
        if !self.launched && launching > 0 {
            self.launched = true;
            let places: Vec<String> =
                scene.pools.iter().filter(|p| p.launching > 0).map(|p| format!("{} in {}", p.launching, p.name)).collect();
            let title = format!("{launching} instances launched: {}", places.join(", "));
            view.headline(
                scene,
                &title,
                "Each launch was stored with its token before EC2 was called: a crash now would launch nothing twice.",
            );
        }
        if !self.raised && scene.sale.phase == Some(Phase::Preparing) && scene.workloads.iter().any(|w| w.floor > w.baseline) {
            self.raised = true;
            let why =
                "A small batch first, to see that the admission policy stamps new pods with the places they may go to; then all of them.";
            view.headline(scene, "Floors rise: the Deployments' replicas, through /scale", why);
        }
        if !self.leaving && scene.sale.phase == Some(Phase::Returning) && scene.pools.iter().any(|p| p.leaving > 0) {
            self.leaving = true;
            view.headline(
                scene,
                "The first rented nodes are empty",
                "Cordoned, drained through the Eviction API, terminated: from now on the bill falls.",
            );
        }
    }
}

fn of_phase(phase: Phase, scene: &Scene) -> Option<(String, String)> {
    let usual = scene.baseline();
    let peak = scene.peak();
    let rented: usize = scene.pools.iter().map(|p| p.planned).sum();
    let told = match phase {
        Phase::Scheduled => {
            let until =
                scene.sale.ready_by.as_ref().zip(scene.sale.starts_at.as_ref()).map(|(by, start)| span(by.0.duration_since(start.0)));
            let cost = scene.sale.cost.as_ref().map(|cost| format!(", {} USD an hour", cost.hourly)).unwrap_or_default();
            let title = format!("Planned: from {usual} to {peak} replicas takes {rented} rented nodes{cost}");
            let why = format!(
                "The servers in Phoenix are nearly full. The rest goes to the nearest places that have room, by what each workload's calls \
                 home would cost there. Preparing starts {} before ready-by: the slowest of all nodes, and a margin.",
                until.unwrap_or_default()
            );
            (title, why)
        }
        Phase::Preparing => (
            "Preparing: nodes are on their way, then replicas".into(),
            "Not when load arrives, but counted backwards from ready-by: an autoscaler would start at T0 and lose minutes that buyers see."
                .into(),
        ),
        Phase::Ready => (
            format!("Everything is Ready: {} of {peak} replicas on {} nodes", scene.ready(), scene.nodes()),
            format!("Slack {}. Nothing is left to do but wait for the doors.", scene.sale.slack.clone().unwrap_or_default()),
        ),
        Phase::Live => (
            "The doors are open".into(),
            "Floors are held. An HPA may go above them; nobody goes below. Pods that die come back in the nearest place with room.".into(),
        ),
        Phase::Returning => (
            "The sale is over: the way back".into(),
            "Floors fall in steps, the farthest replicas first, so that what stays is at home; emptied nodes are given back.".into(),
        ),
        Phase::Completed => {
            ("Everything is back".into(), "Floors restored in the name of who set them, nodes terminated, records removed.".into())
        }
        Phase::Missed | Phase::Cancelled | Phase::Invalid => (format!("The sale is {phase:?}"), format!("{:?}", scene.sale.conditions)),
    };
    Some(told)
}
