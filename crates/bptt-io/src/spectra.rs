//! Measures of a block of weights: its largest singular value and its spectral radius.

use bptt::dynamics::singular_values;
use bptt::{Matrix, Real};
use nalgebra::DMatrix;

/// The largest singular value; NaN if an entry is not finite.
pub fn sigma_max<T: Real>(matrix: &Matrix<T>) -> f64 {
    singular_values(matrix.view()).first().copied().unwrap_or(0.0)
}

/// The largest modulus of an eigenvalue; NaN if an entry is not finite.
///
/// Gelfand's formula lim ‖Aᵐ‖^(1/m) by repeated squaring up to m = 2⁶⁰. An iteration for [eigenvalues](bptt::dynamics::eigenvalues)
/// returns numbers of about ε^(1/n) for the zero eigenvalues of a nilpotent matrix of size n.
///
/// # Panics
/// If the matrix is not square.
pub fn spectral_radius<T: Real>(matrix: &Matrix<T>) -> f64 {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    assert_eq!(rows, cols, "only a square matrix has eigenvalues");
    if !matrix.data().iter().all(|w| w.is_finite()) {
        return f64::NAN;
    }
    let mut power = DMatrix::from_row_iterator(rows, cols, matrix.data().iter().map(|w| w.f64()));
    let mut log_radius = 0.0;
    let mut exponent = 1.0;
    for _ in 0..60 {
        let norm = power.norm();
        if norm == 0.0 {
            return 0.0;
        }
        log_radius += norm.ln() / exponent;
        power /= norm;
        power = &power * &power;
        exponent *= 2.0;
    }
    log_radius.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(size: usize, entry: impl Fn(usize, usize) -> f64) -> Matrix<f64> {
        let entries = (0..size * size).map(|index| entry(index / size, index % size)).collect();
        Matrix::new(size, size, entries).unwrap()
    }

    #[test]
    fn the_radius_of_known_matrices() {
        let cycle = square(4, |i, j| f64::from(u8::from((i + 1) % 4 == j)));
        assert!((spectral_radius(&cycle) - 1.0).abs() < 1e-14);
        let jordan_block = square(3, |i, j| if i == j { 0.5 } else { f64::from(u8::from(i + 1 == j)) });
        assert!((spectral_radius(&jordan_block) - 0.5).abs() < 1e-14);
        let rotation = square(2, |i, j| [[3.0, -4.0], [4.0, 3.0]][i][j]);
        assert!((spectral_radius(&rotation) - 5.0).abs() < 1e-14);
        let nilpotent = square(2, |i, j| f64::from(u8::from(i < j)));
        assert_eq!(spectral_radius(&nilpotent), 0.0);
    }

    #[test]
    fn a_matrix_that_is_not_finite_has_no_measure() {
        let broken = Matrix::new(1, 1, vec![f64::NAN]).unwrap();
        assert!(sigma_max(&broken).is_nan() && spectral_radius(&broken).is_nan());
    }
}
