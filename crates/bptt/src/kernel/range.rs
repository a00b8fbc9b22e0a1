//! Some columns of a row.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

/// Some columns of a row: as many as a register holds, or the last ones. They never lie outside of it.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(super) first: usize,
    pub(super) count: usize,
    /// Of the row: first + count ≤ width.
    pub(super) width: usize,
}

impl Columns {
    /// Columns `first` to `first` + `count` of a row of `width`, as far as it has them.
    #[inline(always)]
    pub fn new(first: usize, count: usize, width: usize) -> Self {
        let first = first.min(width);
        Self { first, count: count.min(width - first), width }
    }

    /// These columns of `row`.
    #[inline(always)]
    pub fn of<T>(self, row: &[T]) -> &[T] {
        // In a loop over columns this asks the same every time, so it costs nothing; the bounds would be looked up each time.
        assert!(self.width <= row.len(), "columns of a row that is too short");
        // SAFETY: first + count ≤ width, see `Columns::new`, and width ≤ row.len().
        #[allow(unsafe_code)]
        unsafe {
            row.get_unchecked(self.first..self.first + self.count)
        }
    }

    /// The same to write.
    #[inline(always)]
    pub fn of_mut<T>(self, row: &mut [T]) -> &mut [T] {
        assert!(self.width <= row.len(), "columns of a row that is too short");
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            row.get_unchecked_mut(self.first..self.first + self.count)
        }
    }
}
