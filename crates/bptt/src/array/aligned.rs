//! Numbers in aligned memory.

use std::ops::{Deref, DerefMut};

use num_traits::Float;

/// Bytes of a cache line, and of the widest vector register.
const LINE: usize = 64;

/// A vector of numbers that begins where a cache line does, so that no register is loaded from two of them.
pub(crate) struct Aligned<T> {
    /// The numbers are somewhere in it: an allocation is only as aligned as its type.
    room: Vec<T>,
    start: usize,
    len: usize,
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { room: Vec::new(), start: 0, len: 0 }
    }
}

impl<T: Float> Aligned<T> {
    /// `count` zeros.
    pub(crate) fn zeros(count: usize) -> Self {
        if count == 0 {
            return Self::default();
        }
        let spare = LINE / size_of::<T>();
        let room = vec![T::zero(); count + spare];
        let start = room.as_ptr().align_offset(LINE).min(spare);
        Self { room, start, len: count }
    }

    /// The same numbers.
    pub(crate) fn from_slice(numbers: &[T]) -> Self {
        let mut aligned = Self::zeros(numbers.len());
        aligned.copy_from_slice(numbers);
        aligned
    }

    /// Gives it `count` numbers: those it has, as far as they fit, and then `value`.
    pub(crate) fn resize(&mut self, count: usize, value: T) {
        let grows = self.start + count > self.room.len();
        if grows {
            let mut larger = Self::zeros(count);
            larger[..self.len].copy_from_slice(self);
            larger.len = self.len;
            *self = larger;
        }
        let kept = self.len.min(count);
        self.len = count;
        // New memory is zero already.
        if !grows || !value.is_zero() {
            self[kept..].fill(value);
        }
    }

    /// Forgets the numbers and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.room[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.room[self.start..self.start + self.len]
    }
}

impl<T: Clone> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let Some(first) = self.first() else { return Self::default() };
        let spare = LINE / size_of::<T>();
        let mut room: Vec<T> = Vec::with_capacity(self.len + spare);
        let start = room.as_ptr().align_offset(LINE).min(spare);
        room.resize(start, first.clone());
        room.extend_from_slice(self);
        Self { room, start, len: self.len }
    }
}

impl<T: PartialEq> PartialEq for Aligned<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_where_a_cache_line_does_and_stay() {
        let mut vectors: Vec<Aligned<f32>> = (0..40).map(Aligned::zeros).collect();
        for (count, vector) in vectors.iter_mut().enumerate() {
            vector.iter_mut().zip(1u8..).for_each(|(number, i)| *number = f32::from(i));
            vector.resize(count + 7, 0.5);
            assert!(vector.as_ptr().align_offset(LINE) == 0 || vector.is_empty());
            let expected: Vec<f32> = (1u8..).map(f32::from).take(count).chain([0.5; 7]).collect();
            assert_eq!(**vector, expected);
            assert_eq!(vector.clone(), *vector);
            vector.resize(3, 9.0);
            vector.resize(5, 9.0);
            assert_eq!(vector[3..], [9.0, 9.0]);
            vector.clear();
            vector.resize(2, 0.0);
            assert_eq!(**vector, [0.0, 0.0]);
        }
        assert_eq!(*Aligned::from_slice(&[1.0, 2.0f64]), [1.0, 2.0]);
    }
}
