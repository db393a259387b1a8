//! Which slots a walk has seen.
//!
//! One bit per slot, so that a hundred thousand fit the first-level cache; only the words that were
//! touched are cleared for the next walk.

#[derive(Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    /// Forgets all; slots are below `slots`.
    pub fn start(&mut self, slots: u32) {
        for word in self.touched.drain(..) {
            self.words[word as usize] = 0;
        }
        let words = slots as usize / 64 + 1;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// Marks a slot; says whether it is new. Slots beyond those promised are never new.
    #[inline]
    pub fn insert(&mut self, slot: u32) -> bool {
        let (at, bit) = (slot / 64, 1 << (slot % 64));
        let Some(word) = self.words.get_mut(at as usize) else { return false };
        if *word == 0 {
            self.touched.push(at);
        }
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_new_once_per_walk() {
        let mut visited = Visited::default();
        for slots in [100, 10, 1_000] {
            visited.start(slots);
            assert!(visited.insert(3) && visited.insert(9) && !visited.insert(3));
        }
        assert!(visited.insert(999) && !visited.insert(5_000));
    }
}
