//! Instances that the cloud would not terminate: protected by a person or by rights, or the answer was lost. Losing this memory costs a call, not an
//! instance.

use std::{collections::BTreeMap, time::Duration};

use onsale_cloud::CloudError;

/// Instances that were refused and are tried again in one pass, each in a call of its own.
const MOST_ALONE: usize = 8;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What the cloud said.
    pub error: CloudError,
    /// Failures in a row.
    failures: i32,
    /// Monotonic time of the next try.
    until: Duration,
}

/// Those of one pool, by ID.
#[derive(Default)]
pub struct Memory(BTreeMap<String, Kept>);

impl Memory {
    /// The cloud failed to terminate these in one call. A refusal says nothing about which of several it is about: each is tried by itself next, and at
    /// once. Otherwise the pause is that of the error.
    pub fn note(&mut self, ids: &[String], error: &CloudError, monotonic: Duration) {
        for id in ids {
            let failures = self.0.get(id).map_or(0, |k| k.failures).saturating_add(1);
            let several = error.is_final() && ids.len() > 1;
            let pause = if several { Duration::ZERO } else { error.retry(failures).unsigned_abs() };
            self.0.insert(id.clone(), Kept { error: error.clone(), failures, until: monotonic + pause });
        }
    }

    /// It is gone, or on its way.
    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// The calls that terminate these instances: one for all that were not refused, one for each that was, as far as their pauses are over.
    pub fn calls(&self, ids: &[String], monotonic: Duration) -> Vec<Vec<String>> {
        let due = |id: &&String| self.0.get(*id).is_none_or(|k| k.until <= monotonic);
        let refused = |id: &&String| self.0.get(*id).is_some_and(|k| k.error.is_final());
        let (alone, together): (Vec<&String>, Vec<&String>) = ids.iter().filter(due).partition(refused);
        let together: Vec<String> = together.into_iter().cloned().collect();
        let alone = alone.into_iter().take(MOST_ALONE).map(|id| vec![id.clone()]);
        (!together.is_empty()).then_some(together).into_iter().chain(alone).collect()
    }

    /// Which of these are kept.
    pub fn of(&self, ids: &[String]) -> Vec<(String, Kept)> {
        ids.iter().filter_map(|id| Some((id.clone(), self.0.get(id)?.clone()))).collect()
    }

    /// How long until the next pause is over. Those that are over already are up to the pass that asks.
    pub fn retry_in(&self, monotonic: Duration) -> Option<Duration> {
        self.0.values().map(|k| k.until.saturating_sub(monotonic)).filter(|left| !left.is_zero()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_is_refused_is_tried_alone_and_ever_less_often_and_what_was_lost_together() {
        let (mut memory, ids) = (Memory::default(), ["i-1".to_owned(), "i-2".to_owned()]);
        let refused = CloudError::Invalid { message: "OperationNotPermitted".into() };
        assert_eq!(memory.calls(&ids, secs(0)), [ids.to_vec()]);
        memory.note(&ids, &CloudError::Throttled, secs(0));
        assert_eq!((memory.calls(&ids, secs(1)), memory.calls(&ids, secs(2))), (vec![], vec![ids.to_vec()]));
        memory.note(&ids, &refused, secs(2));
        assert_eq!(memory.calls(&ids, secs(2)), [[ids[0].clone()], [ids[1].clone()]]);
        memory.note(&ids[..1], &refused, secs(2));
        memory.forget(&ids[1]);
        assert_eq!(memory.of(&ids).into_iter().map(|(id, k)| (id, k.error)).collect::<Vec<_>>(), [(ids[0].clone(), refused)]);
        assert_eq!(memory.retry_in(secs(2)), Some(secs(240)));
        assert_eq!(memory.calls(&ids, secs(3)), [[ids[1].clone()]], "nothing is known against it any more");
    }
}
