//! Prefetching: numbers are loaded into cache before they are needed.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use std::ops::Range;

/// Prefetches the cache lines of these numbers into the second-level cache.
#[inline(always)]
#[allow(unused_variables)] // on processors without the instruction, and under Miri, which has none of it
pub(crate) fn prefetch<T>(numbers: &[T], range: Range<usize>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for i in range.step_by(64 / size_of::<T>()) {
        if let Some(number) = numbers.get(i) {
            // SAFETY: a prefetch reads nothing that the program could see, and the address is that of a number in a slice.
            #[allow(unsafe_code)]
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(
                    std::ptr::from_ref(number).cast(),
                );
            }
        }
    }
}
