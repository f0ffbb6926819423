//! What happens step by step is told once, from the first value to the last: as far as it is one movement.

use jiff::Timestamp;

use super::{Kind, Moment, Part, timeline::list};

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it begins.
    pub at: Timestamp,
    /// What kind of moment it is.
    pub kind: Kind,
    /// What happens.
    pub text: String,
    /// When the last of its steps is done, if there is more than one.
    pub until: Option<Timestamp>,
}

/// Steps that may be told as one.
struct Series<'a> {
    row: usize,
    steps: Vec<&'a Moment>,
}

impl Series<'_> {
    /// Whether a step belongs to the same movement: no sale set out or turned back since the last one.
    fn goes_on(&self, step: &Moment) -> bool {
        self.steps.last().is_some_and(|last| last.kind == step.kind && last.chapter == step.chapter)
    }
}

/// The lines of a timeline.
#[must_use]
pub fn merge(moments: &[Moment]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    // One of floors, one of nodes: what moves the other way ends it.
    let (mut floors, mut nodes): (Option<Series>, Option<Series>) = (None, None);
    for moment in moments {
        let open = match moment.kind {
            Kind::FloorsRise | Kind::FloorsFall => Some(&mut floors),
            Kind::NodesReturned => Some(&mut nodes),
            _ => None,
        };
        match open {
            Some(Some(series)) if series.goes_on(moment) => {
                series.steps.push(moment);
                let all = join(series.steps.iter().flat_map(|step| &step.parts));
                let row = &mut rows[series.row];
                (row.until, row.text) = (Some(moment.at).filter(|at| *at > row.at), list(all.iter().map(Part::to_string)));
                continue;
            }
            Some(open) => *open = Some(Series { row: rows.len(), steps: vec![moment] }),
            None => {}
        }
        rows.push(Row { at: moment.at, kind: moment.kind, text: moment.text.clone(), until: None });
    }
    rows
}

/// `a 5 -> 4` and `a 4 -> 3` are `a 5 -> 3`; `2 in x` and `3 in x` are `5 in x`.
fn join<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::new();
    for part in parts {
        let joined = all.iter_mut().any(|before| match (before, part) {
            (Part::Floor { workload, to, .. }, Part::Floor { workload: same, to: next, .. }) if workload == same => {
                *to = *next;
                true
            }
            (Part::Nodes { pool, count }, Part::Nodes { pool: same, count: more }) if pool == same => {
                *count += more;
                true
            }
            _ => false,
        });
        if !joined {
            all.push(part.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of one floor: second, chapter, from and to.
    fn falls(steps: &[(i64, usize, i32, i32)]) -> Vec<(i64, Option<i64>, String)> {
        let moment = |(at, chapter, from, to): &(i64, usize, i32, i32)| {
            let part = Part::Floor { workload: "web".to_owned(), from: *from, to: *to };
            let (at, text) = (Timestamp::from_second(*at).unwrap(), part.to_string());
            Moment { at, kind: Kind::FloorsFall, text, parts: vec![part], chapter: *chapter }
        };
        let moments: Vec<Moment> = steps.iter().map(moment).collect();
        merge(&moments).into_iter().map(|r| (r.at.as_second(), r.until.map(Timestamp::as_second), r.text)).collect()
    }

    #[test]
    fn steps_of_two_movements_are_two_lines() {
        let steps = [(0, 1, 170, 140), (60, 1, 140, 120), (3600, 2, 120, 60), (3660, 2, 60, 10)];
        let told = [(0, Some(60), "web 170 -> 120".to_owned()), (3600, Some(3660), "web 120 -> 10".to_owned())];
        assert_eq!(falls(&steps), told);
    }
}
