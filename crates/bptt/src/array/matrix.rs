//! The row-major matrix and views of it.

use num_traits::Float;

use crate::Error;

/// The nearest number of another type: f32 to f64 is exact, f64 to f32 rounds.
pub(super) fn cast<T: Float, U: Float>(number: T) -> U {
    U::from(number).expect("a float is a number of any float type")
}

/// A dense row-major matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix<T> {
    rows: usize,
    cols: usize,
    data: Vec<T>,
}

impl<T: Float> Matrix<T> {
    /// A (rows, cols) matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![T::zero(); rows * cols] }
    }

    /// A (rows, cols) matrix from its entries, row after row.
    ///
    /// # Errors
    /// If `data` does not hold rows · cols numbers.
    pub fn new(rows: usize, cols: usize, data: Vec<T>) -> Result<Self, Error> {
        if data.len() != rows * cols {
            return Err(Error::Shape {
                what: "matrix".into(),
                expected: format!("{} numbers for ({rows}, {cols})", rows * cols),
                given: format!("{} numbers", data.len()),
            });
        }
        Ok(Self { rows, cols, data })
    }

    /// Makes it a (rows, cols) matrix of zeros in the memory it has.
    pub(crate) fn clear(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        self.data.clear();
        self.data.resize(rows * cols, T::zero());
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`, a slice of `cols` numbers.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// All entries, row after row.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All entries, row after row, to write.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The whole matrix as a view.
    pub fn view(&self) -> View<'_, T> {
        View::new(self.rows, self.cols, &self.data)
    }

    /// The same numbers in another precision (f32 to f64 is exact).
    pub fn cast<U: Float>(&self) -> Matrix<U> {
        Matrix { rows: self.rows, cols: self.cols, data: self.data.iter().map(|v| cast(*v)).collect() }
    }
}

/// A borrowed row-major matrix, or some columns of one.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    rows: usize,
    cols: usize,
    /// From one row to the next.
    stride: usize,
    data: &'a [T],
}

impl<'a, T: Float> View<'a, T> {
    /// A view of `data` as (rows, cols).
    ///
    /// # Panics
    /// If `data` does not hold rows · cols numbers.
    pub fn new(rows: usize, cols: usize, data: &'a [T]) -> Self {
        assert_eq!(data.len(), rows * cols, "a view must cover its data");
        Self { rows, cols, stride: cols, data }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How many numbers lie from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..i * self.stride + self.cols]
    }

    /// All entries, row after row; of a view of some columns, with what lies between them.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// These columns alone.
    #[must_use]
    pub fn columns(&self, columns: std::ops::Range<usize>) -> Self {
        assert!(columns.end <= self.cols, "columns of a view");
        let data = &self.data[columns.start.min(self.data.len())..];
        Self { rows: self.rows, cols: columns.len(), stride: self.stride, data }
    }

    /// These rows alone.
    #[must_use]
    pub(crate) fn some_rows(&self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows of a view");
        let data = &self.data[(rows.start * self.stride).min(self.data.len())..];
        Self { rows: rows.len(), data, ..*self }
    }

    /// Rows `i`·`count` to (`i` + 1)·`count`.
    pub(crate) fn rows_of(&self, i: usize, count: usize) -> Self {
        assert_eq!(self.stride, self.cols, "rows of a whole matrix");
        let size = count * self.cols;
        Self::new(count, self.cols, &self.data[i * size..(i + 1) * size])
    }

    /// A copy that owns its entries.
    pub fn to_matrix(&self) -> Matrix<T> {
        let data = (0..self.rows).flat_map(|i| self.row(i)).copied().collect();
        Matrix { rows: self.rows, cols: self.cols, data }
    }
}
