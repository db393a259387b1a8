//! Which slots a walk has seen.
//!
//! One bit per slot, so that a hundred thousand fit the first-level cache; only the words that were
//! touched are cleared for the next walk. Nothing here branches on what was seen, which no processor
//! can predict.

#[derive(Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    /// The words to clear, `count` of them.
    touched: Vec<u32>,
    count: usize,
}

impl Visited {
    /// Forgets all; slots are below `slots`.
    pub fn start(&mut self, slots: u32) {
        for word in &self.touched[..self.count] {
            self.words[*word as usize] = 0;
        }
        self.count = 0;
        let words = slots as usize / 64 + 1;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        self.make_room(1);
    }

    /// To be called before so many [`insert`](Self::insert)s.
    #[inline]
    pub fn make_room(&mut self, slots: usize) {
        if self.touched.len() <= self.count + slots {
            self.touched.resize(2 * (self.count + slots), 0);
        }
    }

    /// Marks a slot; says whether it is new. Slots beyond those promised are never new.
    #[inline]
    pub fn insert(&mut self, slot: u32) -> bool {
        let (at, bit) = (slot / 64, 1 << (slot % 64));
        let Some(word) = self.words.get_mut(at as usize) else { return false };
        let before = *word;
        *word |= bit;
        self.touched[self.count] = at;
        self.count += usize::from(before == 0);
        before & bit == 0
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
            visited.make_room(3);
            assert!(visited.insert(3) && visited.insert(9) && !visited.insert(3));
        }
        visited.make_room(2);
        assert!(visited.insert(999) && !visited.insert(5_000));
    }
}
