//! Sums over compressed vectors: one kernel per instruction set, picked once at run time.
//!
//! Sums are of integers, and what becomes of them is the same code for all, so every kernel gives the very same result as its
//! scalar twin. A kernel takes one
//! query and the rows of several slots: the call, which is indirect, is paid once per step of a walk.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use super::{
    arena::Arena,
    columns::{Columns, EIGHT},
    frame::Query,
};

/// Slots that whoever calls a kernel has room for results of, at most.
pub(super) const BATCH: usize = 32;

/// Sums of products of a query, a multiple of 64 numbers, with halves of the rows of slots, as `nibbles`
/// packs them.
type Dots = fn(query: &[i8], rows: &Arena<u8>, slots: &[u32], out: &mut [i32]);

/// Sums of products of a query, a multiple of 64 numbers from -127 to 127, with rows of such numbers.
type WholeDots = fn(query: &[i8], rows: &Arena<i8>, slots: &[u32], out: &mut [i32]);

/// The least ranks ([`Query::least_rank`]) of coded rows. Its agreement is the sum over bits of `±(2 ± 1)`, the signs
/// of `±` being whether the row's bit equals that of the query's first and of its second plane.
type Leasts = fn(query: &Query, rows: &Arena<u64>, slots: &[u32], out: &mut [f32]);

/// The same of codes that lie side by side; or the ranks ([`Query::rank`]) of rows whose upper halves do.
type OfEights = fn(query: &Query, rows: &Columns, out: &mut [[f32; EIGHT]]);

/// The kernels of one instruction set. Results come in the order of the slots; as many as there is room for.
pub(super) struct Kernels {
    pub dots: Dots,
    pub whole_dots: WholeDots,
    pub leasts: Leasts,
    pub leasts_of_eights: OfEights,
    pub ranks_of_eights: OfEights,
}

/// Work that gains from wide registers without saying how.
pub(super) trait Wide {
    type Done;

    /// To be marked `#[inline(always)]`, and what it calls too: a function of its own is compiled for any
    /// processor. (So this is no closure: nothing makes the compiler inline one.)
    fn run(self) -> Self::Done;
}

/// Does work that is compiled for the widest registers here: the same operations, and the same results, several at
/// a time. (ARM's registers have one width, and code for any processor uses it.)
#[inline(always)]
pub(super) fn widest<W: Wide>(work: W) -> W::Done {
    #[cfg(target_arch = "x86_64")]
    return avx2::widest(work);
    #[cfg(not(target_arch = "x86_64"))]
    work.run()
}

impl Kernels {
    /// The fastest this machine can run.
    pub fn detect() -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernels) = avx512::kernels().or_else(avx2::kernels) {
            return kernels;
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(kernels) = neon::kernels() {
            return kernels;
        }
        &scalar::KERNELS
    }

    /// All that this machine can run.
    #[cfg(test)]
    fn all() -> Vec<&'static Self> {
        let mut all = vec![&scalar::KERNELS];
        #[cfg(target_arch = "x86_64")]
        all.extend([avx2::kernels(), avx512::kernels()].into_iter().flatten());
        #[cfg(target_arch = "aarch64")]
        all.extend(neon::kernels());
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            arena::{Arena, Plain},
            columns::{Columns, EIGHT},
            frame::{Code, Query},
            nibbles,
        },
        Kernels,
    };

    fn numbers() -> impl Strategy<Value = (Vec<i8>, Vec<Vec<i8>>)> {
        (1_usize..20).prop_flat_map(|words| {
            let row = prop::collection::vec(-127_i8..=127, words * 64);
            (row.clone(), prop::collection::vec(row, 0..9))
        })
    }

    fn bits() -> impl Strategy<Value = (Vec<u64>, Vec<Vec<u64>>)> {
        (1_usize..20).prop_flat_map(|words| {
            // Offset 0, and 1 per agreement.
            let extra = [0, u64::from(1_f32.to_bits())];
            let row =
                prop::collection::vec(any::<u64>(), words).prop_map(move |row| [&row[..], &extra].concat());
            (prop::collection::vec(any::<u64>(), 2 * words), prop::collection::vec(row, 0..20))
        })
    }

    /// The rows in slots, the last one in the first.
    fn arena<T: Plain>(rows: &[Vec<T>]) -> (Arena<T>, Vec<u32>) {
        let reversed: Vec<_> = rows.iter().rev().cloned().collect();
        (Arena::of(&reversed), (0..rows.len() as u32).rev().collect())
    }

    proptest! {
        #[test]
        fn dots_are_the_sums(((query, rows), full) in (numbers(), any::<bool>())) {
            let query = if full { vec![-127; query.len()] } else { query };
            let (upper, slots) = arena(&rows.iter().map(|row| nibbles::pack(row)).collect::<Vec<_>>());
            let (whole, _) = arena(&rows);
            let sum = |row: &[i8]| query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>();
            let middles = |row: &Vec<i8>| row.iter().map(|x| nibbles::middle_of(*x)).collect::<Vec<_>>();
            for kernels in Kernels::all() {
                let mut found = vec![0; rows.len()];
                (kernels.dots)(&query, &upper, &slots, &mut found);
                let coarse = found.iter().map(|upper| nibbles::coarse(*upper, sum(&vec![1; query.len()])));
                prop_assert_eq!(coarse.collect::<Vec<_>>(), rows.iter().map(|row| sum(&middles(row))).collect::<Vec<_>>());
                (kernels.whole_dots)(&query, &whole, &slots, &mut found);
                prop_assert_eq!(found, rows.iter().map(|row| sum(row)).collect::<Vec<_>>());
            }
        }

        #[test]
        fn ranks_of_eights_are_those_of_single_rows(
            ((query, rows), full, extra) in (numbers(), any::<bool>(), (-9_f32..9.0, -9_f32..9.0))
        ) {
            let query = if full { vec![-127; query.len()] } else { query };
            let (offset, scale) = extra;
            let code = [u64::from(offset.to_bits()) | u64::from(scale.to_bits()) << 32, 0];
            let (upper, slots) = arena(&rows.iter().map(|row| nibbles::pack(row)).collect::<Vec<_>>());
            let of_rows = slots.iter().map(|slot| (upper.get(*slot), Code(&code)));
            let columns = Columns::of_halves(nibbles::bytes(query.len()), of_rows);
            let query = Query::of_numbers(query);
            for kernels in Kernels::all() {
                let mut sums = vec![0; rows.len()];
                (kernels.dots)(&query.own.numbers, &upper, &slots, &mut sums);
                let rank = |sum: &i32| query.rank(Code(&code), nibbles::coarse(*sum, query.own.sum) as f32).to_bits();
                let expected: Vec<u32> = sums.iter().map(rank).collect();
                let mut found = vec![[0.0; EIGHT]; rows.len().div_ceil(EIGHT)];
                (kernels.ranks_of_eights)(&query, &columns, &mut found);
                let found: Vec<u32> = found.as_flattened()[..rows.len()].iter().map(|rank| rank.to_bits()).collect();
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn leasts_are_of_the_sums((planes, rows) in bits()) {
            let words = planes.len() / 2;
            let (arena, slots) = arena(&rows);
            let sign = |words: &[u64], at: usize| if words[at / 64] >> (at % 64) & 1 == 1 { 1 } else { -1 };
            let sum = |row: &Vec<u64>| {
                let terms = (0..words * 64).map(|at| sign(row, at) * (2 * sign(&planes, at) + sign(&planes[words..], at)));
                terms.sum::<i32>() as f32
            };
            let expected: Vec<f32> = rows.iter().map(sum).collect();
            let query = Query::of_planes(planes.clone());
            for kernels in Kernels::all() {
                let mut found = vec![0.0; rows.len()];
                (kernels.leasts)(&query, &arena, &slots, &mut found);
                prop_assert_eq!(&found, &expected);
                let columns = Columns::of_codes(words, slots.iter().map(|slot| Code(arena.get(*slot))));
                let mut found = vec![[0.0; EIGHT]; rows.len().div_ceil(EIGHT)];
                (kernels.leasts_of_eights)(&query, &columns, &mut found);
                prop_assert_eq!(&found.as_flattened()[..rows.len()], &expected);
            }
        }
    }

    /// Whether sums fit their lanes, which random numbers do not tell.
    #[test]
    fn the_largest_numbers_are_added_up_too() {
        for numbers in [64, 128, 192, 4096] {
            for query in [i8::MIN, i8::MAX] {
                let (arena, slots) = arena(&vec![vec![u8::MAX; numbers / 2]; 5]);
                for kernels in Kernels::all() {
                    let mut found = [0; 5];
                    (kernels.dots)(&vec![query; numbers], &arena, &slots, &mut found);
                    assert_eq!(found, [15 * i32::from(query) * numbers as i32; 5]);
                    let code = [u64::from(1_f32.to_bits()) << 32, 0];
                    let rows = slots.iter().map(|slot| (arena.get(*slot), Code(&code)));
                    let columns = Columns::of_halves(numbers / 2, rows);
                    let mut ranks = [[0.0; EIGHT]];
                    (kernels.ranks_of_eights)(&Query::of_numbers(vec![query; numbers]), &columns, &mut ranks);
                    // The middle of the largest upper half is 120.
                    assert_eq!(ranks[0][..5], [120.0 * f32::from(query) * numbers as f32; 5]);
                }
            }
            for number in [-127, 127] {
                let (arena, slots) = arena(&vec![vec![number; numbers]; 5]);
                for kernels in Kernels::all() {
                    for query in [-127, 127] {
                        let mut found = [0; 5];
                        (kernels.whole_dots)(&vec![query; numbers], &arena, &slots, &mut found);
                        assert_eq!(found, [i32::from(query) * i32::from(number) * numbers as i32; 5]);
                    }
                }
            }
            // Every bit differs from both planes.
            let words = numbers / 64;
            let extra = [0, u64::from(1_f32.to_bits())];
            let (arena, slots) = arena(&vec![[&vec![u64::MAX; words][..], &extra].concat(); 5]);
            let query = Query::of_planes(vec![0; 2 * words]);
            for kernels in Kernels::all() {
                let mut found = [0.0; 5];
                (kernels.leasts)(&query, &arena, &slots, &mut found);
                assert_eq!(found, [-3.0 * numbers as f32; 5]);
            }
        }
    }

    #[test]
    fn the_fastest_kernels_are_the_last_of_all() {
        let all = Kernels::all();
        assert!(std::ptr::fn_addr_eq(Kernels::detect().dots, all[all.len() - 1].dots));
        #[cfg(target_arch = "aarch64")]
        assert_eq!(all.len(), 2, "scalar and NEON");
    }

    #[test]
    fn unequal_lengths_are_a_bug_not_a_wild_read() {
        let whole = Arena::of(&[vec![0; 64]]);
        let (arena, slots) = arena(&[vec![0_u8; 32]]);
        for kernels in Kernels::all() {
            let dots = || (kernels.whole_dots)(&[0; 128], &whole, &slots, &mut [0]);
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(dots)).is_err());
            let dots = || (kernels.dots)(&[0; 128], &arena, &slots, &mut [0]);
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(dots)).is_err());
            let columns = Columns::of_halves(32, [(&[0; 32][..], Code(&[0; 2]))].into_iter());
            let (query, mut ranks) = (Query::of_numbers(vec![0; 128]), [[0.0; EIGHT]]);
            let ranks = || (kernels.ranks_of_eights)(&query, &columns, &mut ranks);
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(ranks)).is_err());
        }
    }
}
