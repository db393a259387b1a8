//! Which slots a walk has seen.
//!
//! One bit per slot, so that a hundred thousand fit the first-level cache; only the lines that were
//! touched are cleared for the next walk. Nothing here branches on what was seen, which no processor
//! can predict, and no mark waits for the one before.

/// Words of a line: a thousand slots.
const WORDS: usize = 16;
const LINE: usize = 64 * WORDS;

#[derive(Default)]
pub(super) struct Visited {
    lines: Vec<[u64; WORDS]>,
    /// The lines to clear.
    touched: Vec<bool>,
}

impl Visited {
    /// Forgets all; slots are below `slots`.
    pub fn start(&mut self, slots: u32) {
        for (line, touched) in self.lines.iter_mut().zip(&mut self.touched) {
            if std::mem::take(touched) {
                *line = [0; WORDS];
            }
        }
        let lines = slots as usize / LINE + 1;
        if self.lines.len() < lines {
            self.lines.resize(lines, [0; WORDS]);
            self.touched.resize(lines, false);
        }
    }

    /// To mark many.
    #[inline]
    pub fn marks(&mut self) -> Marks<'_> {
        Marks { lines: &mut self.lines, touched: &mut self.touched }
    }

    /// As [`Marks::insert`].
    #[inline]
    pub fn insert(&mut self, slot: u32) -> bool {
        self.marks().insert(slot)
    }
}

/// Where marks are: a value of its own stays in registers.
pub(super) struct Marks<'a> {
    lines: &'a mut [[u64; WORDS]],
    touched: &'a mut [bool],
}

impl Marks<'_> {
    /// Marks a slot; says whether it is new. Slots beyond those promised are never new.
    #[inline(always)]
    pub fn insert(&mut self, slot: u32) -> bool {
        let (line, at) = (slot as usize / LINE, slot as usize % LINE);
        let (Some(words), Some(touched)) = (self.lines.get_mut(line), self.touched.get_mut(line)) else {
            return false;
        };
        *touched = true;
        let (word, bit) = (&mut words[at / 64], 1 << (at % 64));
        let before = *word;
        *word |= bit;
        before & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_new_once_per_walk() {
        let mut visited = Visited::default();
        for slots in [100, 10, 5_000, 1_000, 5_000] {
            visited.start(slots);
            for slot in [3, 64, slots - 1] {
                assert!(visited.insert(slot) && !visited.insert(slot));
            }
        }
        assert!(!visited.insert(50_000));
    }
}
