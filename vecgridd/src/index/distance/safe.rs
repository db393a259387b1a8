//! The safe functions of [`Sums`](super::Sums) around the one function of an instruction set that does the work.

/// Makes `sums` of `score`, both of the module that asks: `score::<L2, ROWS, T>(query, rows)`, for components that
/// `Load`, which needs instructions that the module's kernels are handed out with.
macro_rules! safe_sums {
    () => {
        const fn sums<T: Load>() -> Sums<T> {
            Sums { dot: dot::<T>, dot_of_four: dot_of_four::<T>, l2: l2::<T>, l2_of_four: l2_of_four::<T> }
        }

        fn dot<T: Load>(query: &[f32], row: &[T]) -> f32 {
            // SAFETY: reached through the module's constant alone, which `kernels` hands out after the instructions
            // were detected.
            let [dot] = unsafe { score::<false, 1, T>(query, [row]) };
            dot
        }

        fn dot_of_four<T: Load>(query: &[f32], rows: [&[T]; 4]) -> [f32; 4] {
            // SAFETY: as in `dot`.
            unsafe { score::<false, 4, T>(query, rows) }
        }

        fn l2<T: Load>(query: &[f32], row: &[T]) -> f32 {
            // SAFETY: as in `dot`.
            let [squares] = unsafe { score::<true, 1, T>(query, [row]) };
            squares
        }

        fn l2_of_four<T: Load>(query: &[f32], rows: [&[T]; 4]) -> [f32; 4] {
            // SAFETY: as in `dot`.
            unsafe { score::<true, 4, T>(query, rows) }
        }
    };
}

pub(super) use safe_sums;
