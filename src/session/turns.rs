//! One at a time per session, within this process.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::store::Name;

/// Who has a turn. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashSet<Name>>>);

impl Turns {
    /// Takes the turn of a session, unless somebody has it.
    pub fn take(&self, name: Name) -> Option<Turn> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        free.then(|| Turn { turns: self.clone(), name })
    }
}

/// A turn; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    name: Name,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_at_a_time_per_session_and_given_back() {
        let turns = Turns::default();
        let (a, b) = (Name::new([1; 32]), Name::new([2; 32]));
        let first = turns.take(a);
        assert!(first.is_some());
        assert!(turns.take(a).is_none());
        assert!(turns.take(b).is_some());
        drop(first);
        assert!(turns.take(a).is_some());
    }
}
