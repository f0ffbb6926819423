//! What happens step by step is told once, from the first value to the last: as far as it is one movement.

use jiff::{SignedDuration, Timestamp};

use super::{Kind, Moment};

/// Pauses that differ by no more are equal: instants are told in whole seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

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
    /// Whether a step belongs to the same movement: no sale entered another phase since the last one, or the pause is that of the steps before.
    fn goes_on(&self, step: &Moment) -> bool {
        let Some(last) = self.steps.last().filter(|last| last.kind == step.kind) else { return false };
        let before = self.steps.len().checked_sub(2).map(|n| last.at.duration_since(self.steps[n].at));
        let steady = before.is_some_and(|pause| (step.at.duration_since(last.at) - pause).abs() <= SLACK);
        step.chapter == last.chapter || steady
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
                let texts: Vec<&str> = series.steps.iter().map(|m| m.text.as_str()).collect();
                (rows[series.row].until, rows[series.row].text) = (Some(moment.at), join(&texts));
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
fn join(texts: &[&str]) -> String {
    let mut all: Vec<(String, i64, String)> = Vec::new();
    for part in texts.iter().flat_map(|t| t.split(", ")) {
        if let Some((head, to)) = part.split_once(" -> ") {
            let (name, from) = head.rsplit_once(' ').unwrap_or((head, ""));
            match all.iter_mut().find(|(n, ..)| n == name) {
                Some((.., range)) => *range = format!("{} -> {to}", range.split(" -> ").next().unwrap_or_default()),
                None => all.push((name.to_owned(), 0, format!("{from} -> {to}"))),
            }
        } else if let Some((count, pool)) = part.split_once(" in ") {
            let count: i64 = count.parse().unwrap_or_default();
            match all.iter_mut().find(|(n, ..)| n == pool) {
                Some((_, sum, _)) => *sum += count,
                None => all.push((pool.to_owned(), count, String::new())),
            }
        }
    }
    let shown =
        all.into_iter().map(|(name, count, range)| if range.is_empty() { format!("{count} in {name}") } else { format!("{name} {range}") });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(steps: &[(i64, usize, &str)]) -> Vec<(i64, Option<i64>, String)> {
        let moment = |(at, chapter, text): &(i64, usize, &str)| Moment {
            at: Timestamp::from_second(*at).unwrap(),
            kind: Kind::FloorsFall,
            text: (*text).to_owned(),
            chapter: *chapter,
        };
        let moments: Vec<Moment> = steps.iter().map(moment).collect();
        merge(&moments).into_iter().map(|r| (r.at.as_second(), r.until.map(Timestamp::as_second), r.text)).collect()
    }

    #[test]
    fn steps_of_two_movements_are_two_lines() {
        let steps = [(0, 1, "web 170 -> 140"), (60, 1, "web 140 -> 120"), (3600, 2, "web 120 -> 60"), (3660, 2, "web 60 -> 10")];
        let told = [(0, Some(60), "web 170 -> 120".to_owned()), (3600, Some(3660), "web 120 -> 10".to_owned())];
        assert_eq!(falls(&steps), told);
    }

    #[test]
    fn another_sales_opening_does_not_break_a_steady_fall() {
        let steps = [(0, 1, "web 9 -> 8"), (60, 1, "web 8 -> 7"), (120, 2, "web 7 -> 6")];
        assert_eq!(falls(&steps), [(0, Some(120), "web 9 -> 6".to_owned())]);
    }
}
