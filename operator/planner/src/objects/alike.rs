//! What many objects say alike is kept once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// Values that somebody holds.
#[derive(Debug)]
pub struct Alike<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// With more than these it is looked for those that nobody holds any more.
    enough: usize,
}

impl<T: ?Sized> Default for Alike<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), enough: Self::FEW }
    }
}

impl<T: ?Sized> Alike<T> {
    /// So many are never looked through.
    const FEW: usize = 64;
}

impl<T: ?Sized + Eq + Hash> Alike<T> {
    /// Replaces the value by an equal one that somebody holds, if anybody does.
    pub fn share(&mut self, one: &mut Arc<T>) {
        if let Some(held) = self.all.get(&**one) {
            one.clone_from(held);
            return;
        }
        if self.all.len() >= self.enough {
            self.all.retain(|held| Arc::strong_count(held) > 1);
            self.enough = Self::FEW.max(self.all.len() * 2);
        }
        self.all.insert(one.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_those_that_nobody_holds_are_forgotten() {
        let mut alike = Alike::<str>::default();
        let name = |alike: &mut Alike<str>, name: &str| {
            let mut name = Arc::from(name);
            alike.share(&mut name);
            name
        };
        let (one, other) = (name(&mut alike, "n1"), name(&mut alike, "n1"));
        assert!(Arc::ptr_eq(&one, &other));
        for n in 0..1_000 {
            name(&mut alike, &format!("gone-{n}"));
        }
        assert!(alike.all.len() <= Alike::<str>::FEW, "{}", alike.all.len());
        assert!(Arc::ptr_eq(&one, &name(&mut alike, "n1")));
    }
}
