//! Nights whose window lies across a change of daylight saving time, opened by local time: nothing may shift by an hour.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    at,
    build::night,
    faults::Verdict,
    play,
    short::{self, PEAK},
};
use crate::sim::Inner;

/// New York: from 02:00 to 03:00 on 8 March 2026, from 02:00 to 01:00 on 1 November 2026.
const ZONE: &str = "America/New_York";
/// What it takes to prepare, at most.
const LEAD: SignedDuration = SignedDuration::from_mins(5);

/// One of them.
#[derive(Debug)]
pub struct Change {
    begins: &'static str,
    /// Local, and the same instant.
    opens_at: (&'static str, &'static str),
    ready_before: (&'static str, SignedDuration),
    duration: (&'static str, SignedDuration),
}

const SHORT: (&str, SignedDuration) = ("30s", SignedDuration::from_secs(30));
const MINUTE: (&str, SignedDuration) = ("1m", SignedDuration::from_mins(1));

/// Prepared across the change, and open across it, in spring and in autumn.
pub const CHANGES: [Change; 4] = [
    Change {
        begins: "2026-03-08T06:50:00Z",
        opens_at: ("2026-03-08T03:01:00", "2026-03-08T07:01:00Z"),
        ready_before: SHORT,
        duration: MINUTE,
    },
    Change {
        begins: "2026-03-08T06:50:00Z",
        opens_at: ("2026-03-08T01:59:30", "2026-03-08T06:59:30Z"),
        ready_before: SHORT,
        duration: MINUTE,
    },
    Change {
        begins: "2026-11-01T05:50:00Z",
        opens_at: ("2026-11-01T02:00:00", "2026-11-01T07:00:00Z"),
        ready_before: ("59m", SignedDuration::from_mins(59)),
        duration: MINUTE,
    },
    Change {
        begins: "2026-11-01T04:50:00Z",
        opens_at: ("2026-11-01T00:59:30", "2026-11-01T04:59:30Z"),
        ready_before: SHORT,
        duration: ("61m", SignedDuration::from_mins(61)),
    },
];

/// Plays one.
#[must_use]
pub fn across(change: &Change) -> Verdict {
    let spec = json!({"timeZone": ZONE, "readyBefore": change.ready_before.0, "duration": change.duration.0, "returnOver": "6s"});
    let start = night(change.begins, 3)
        .nodes("dc", 1)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 3)
        .deployment("seat-map", 2, "4")
        .sale("tour", change.opens_at.0, &[("seat-map", 10, 3)], &spec)
        .build();
    let opens_at = at(change.opens_at.1);
    let (ready_by, ends_at) = (opens_at - change.ready_before.1, opens_at + change.duration.1);
    let state = play(start, async |stage| {
        stage.start();
        stage.run_while_not(ends_at + LEAD, short::over).await;
        stage.state()
    });
    let mut wrong = state.faults(&[]);
    let entered = |phase: &str| state.sale("tour")["entered"][phase].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    if entered("live") != Some(opens_at) || entered("returning") != Some(ends_at) {
        wrong.push(format!("open from {:?} to {:?}", entered("live"), entered("returning")));
    }
    if entered("preparing").is_none_or(|t| t + LEAD < ready_by) {
        wrong.push(format!("prepared from {:?}, to be Ready at {ready_by}", entered("preparing")));
    }
    let on_time = in_time(&state, ready_by);
    if !on_time {
        wrong.push("late".to_owned());
    }
    Verdict { on_time, possible: true, text: format!("{change:?}: {wrong:?}\n{}", state.journal.text()), wrong }
}

fn in_time(state: &Inner, ready_by: Timestamp) -> bool {
    state.reached("seat-map", PEAK).is_some_and(|at| at <= ready_by)
}
