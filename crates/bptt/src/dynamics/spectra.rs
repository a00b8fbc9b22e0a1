//! Singular values and eigenvalues of weights, and what they say by themselves.

use nalgebra::{DMatrix, Schur};

use crate::Error;
use crate::array::View;
use crate::kernel::Real;
use crate::model::cell::GateSpec;
use crate::model::{CellId, Network};

/// An eigenvalue of a real matrix, re + i·im.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eigenvalue {
    /// The real part.
    pub re: f64,
    /// The imaginary part; complex eigenvalues come in conjugate pairs.
    pub im: f64,
}

impl Eigenvalue {
    /// |re + i·im|.
    pub fn modulus(self) -> f64 {
        self.re.hypot(self.im)
    }
}

/// The singular values of a matrix, the largest first: min(rows, cols) numbers; NaN if an entry is not finite.
pub fn singular_values<T: Real>(matrix: View<'_, T>) -> Vec<f64> {
    singular_values_of(&to_nalgebra(matrix))
}

/// Not generic, as the other functions of a `DMatrix` here: compiled once.
fn singular_values_of(matrix: &DMatrix<f64>) -> Vec<f64> {
    // The iteration need not end on anything else.
    if !matrix.iter().all(|number| number.is_finite()) {
        return vec![f64::NAN; matrix.nrows().min(matrix.ncols())];
    }
    let mut values: Vec<f64> = matrix.singular_values().iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// The largest singular value; 0 of a matrix without entries, NaN if an entry is not finite.
pub fn sigma_max<T: Real>(matrix: View<'_, T>) -> f64 {
    singular_values(matrix).first().copied().unwrap_or(0.0)
}

/// The largest modulus of an eigenvalue; NaN if an entry is not finite.
///
/// Gelfand's formula lim ‖Aᵐ‖^(1/m) by repeated squaring up to m = 2⁶⁰. An iteration for [`eigenvalues`] returns numbers of
/// about ε^(1/n) for the zero eigenvalues of a nilpotent matrix of size n, by which it would be scaled up.
///
/// # Panics
/// If the matrix is not square.
pub fn spectral_radius<T: Real>(matrix: View<'_, T>) -> f64 {
    assert_eq!(matrix.rows(), matrix.cols(), "only a square matrix has eigenvalues");
    spectral_radius_of(to_nalgebra(matrix))
}

fn spectral_radius_of(mut power: DMatrix<f64>) -> f64 {
    if !power.iter().all(|number| number.is_finite()) {
        return f64::NAN;
    }
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

/// σ_max / σ_min: how much more one direction is stretched than another. Infinite for a singular matrix, NaN for zeros and
/// where a singular value is NaN. `singular_values` come with the largest first.
pub fn condition_number(singular_values: &[f64]) -> f64 {
    match singular_values {
        [] => f64::NAN,
        [largest, ..] => largest / singular_values[singular_values.len() - 1],
    }
}

/// The eigenvalues of a square matrix, those of largest modulus first.
///
/// # Errors
/// If the matrix is not square, has an entry that is not finite, or the iteration (Francis' QR algorithm) does not end.
pub fn eigenvalues<T: Real>(matrix: View<'_, T>) -> Result<Vec<Eigenvalue>, Error> {
    eigenvalues_of(&to_nalgebra(matrix))
}

fn eigenvalues_of(matrix: &DMatrix<f64>) -> Result<Vec<Eigenvalue>, Error> {
    let refuse = |given: String, expected: &str| {
        Err(Error::Value { option: "eigenvalues".into(), given, expected: expected.into() })
    };
    let (rows, cols) = matrix.shape();
    if rows != cols {
        return refuse(format!("a ({rows}, {cols}) matrix"), "a square one");
    }
    if let Some(at) = matrix.iter().position(|number| !number.is_finite()) {
        let given = format!("a matrix with {} at ({}, {})", matrix[at], at % rows, at / rows);
        return refuse(given, "finite entries");
    }
    // The shifts of the iteration can go in circles, as they do on cyclic permutations; seen from turned axes the same
    // eigenvalues are found.
    let most = 100 * rows.max(10);
    let schur = Schur::try_new(matrix.clone(), f64::EPSILON, most)
        .or_else(|| Schur::try_new(turned(matrix), f64::EPSILON, most));
    let Some(schur) = schur else {
        return refuse(format!("a ({rows}, {rows}) matrix on which the iteration does not end"), "another");
    };
    let mut values: Vec<Eigenvalue> =
        schur.complex_eigenvalues().iter().map(|value| Eigenvalue { re: value.re, im: value.im }).collect();
    values.sort_by(|a, b| b.modulus().total_cmp(&a.modulus()).then(b.im.total_cmp(&a.im)));
    Ok(values)
}

/// H A H with the reflection H = I − 2vvᵀ/vᵀv in an irregular direction v: a matrix with the same eigenvalues.
fn turned(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let n = matrix.nrows();
    let v = nalgebra::DVector::from_vec(super::exponents::start(n, 1)).normalize();
    let reflection = DMatrix::identity(n, n) - &v * v.transpose() * 2.0;
    &reflection * matrix * &reflection
}

fn to_nalgebra<T: Real>(matrix: View<'_, T>) -> DMatrix<f64> {
    DMatrix::from_fn(matrix.rows(), matrix.cols(), |i, j| matrix.row(i)[j].f64())
}

/// What σ_max(W_hh) implies for the gradients, whatever is read (Pascanu, Mikolov and Bengio 2013).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Implication {
    /// σ_max < 1/γ: every step shrinks every gradient, so gradients vanish. The condition is sufficient, not necessary: they
    /// may vanish without it.
    Vanishing,
    /// σ_max = 1/γ up to the weights' rounding, as of orthogonal ones: no step stretches a gradient; they do not explode, and may or may not vanish.
    NoExplosion,
    /// σ_max > 1/γ, which is necessary for gradients to explode and not sufficient: it leaves both open.
    Open,
    /// The cell has gates, by which a gradient goes around this block; the condition is one for cells without them.
    DoesNotApply,
}

/// The spectrum of one gate's (H, H) block of a cell's W_hh.
#[derive(Clone, Debug, PartialEq)]
pub struct GateSpectrum {
    /// The cell.
    pub cell: CellId,
    /// The gate's name; `"h"` for a cell that has only one.
    pub gate: &'static str,
    /// The largest first.
    pub singular_values: Vec<f64>,
    /// Those of largest modulus first.
    pub eigenvalues: Vec<Eigenvalue>,
    /// γ, the largest slope of the gate's activation.
    pub slope_bound: f64,
    /// What σ_max implies.
    pub implication: Implication,
}

impl GateSpectrum {
    /// The largest singular value.
    pub fn sigma_max(&self) -> f64 {
        self.singular_values[0]
    }

    /// 1/γ, what σ_max is compared with.
    pub fn sigma_limit(&self) -> f64 {
        1.0 / self.slope_bound
    }

    /// The largest modulus of an eigenvalue.
    pub fn spectral_radius(&self) -> f64 {
        self.eigenvalues[0].modulus()
    }

    /// σ_max / σ_min, see [`condition_number`].
    pub fn condition_number(&self) -> f64 {
        condition_number(&self.singular_values)
    }
}

/// The spectrum of every gate's block of every W_hh, see [`Network::recurrent_spectra`].
pub(crate) fn recurrent_spectra<T: Real>(network: &Network<T>) -> Result<Vec<GateSpectrum>, Error> {
    let (spec, hidden) = (network.spec(), network.hidden());
    let mut spectra = Vec::new();
    let Some(recurrent) = spec.recurrent_weights() else { return Ok(spectra) };
    for (index, params) in network.weights().cells.iter().enumerate() {
        for (g, &GateSpec { name: gate, activation, .. }) in spec.gates.iter().enumerate() {
            let Some(block) = params.recurrent_block(g).filter(|block| block.rows() == block.cols()) else {
                let cols = params.tensors()[recurrent].cols();
                return Err(Error::Unsupported {
                    what: "recurrent spectra".into(),
                    given: format!("{}, whose W_hh has blocks of ({hidden}, {cols})", spec.name),
                    expected: "a cell whose output has as many numbers as it has units".into(),
                });
            };
            let eigenvalues = eigenvalues(block)?;
            let singular_values = singular_values(block);
            let slope_bound = activation.slope_bound();
            let gain = singular_values[0] * slope_bound;
            let rounding = T::epsilon().f64() * hidden as f64;
            let implication = match gain - 1.0 {
                _ if spec.is_gated() => Implication::DoesNotApply,
                above if above > rounding => Implication::Open,
                above if above < -rounding => Implication::Vanishing,
                _ => Implication::NoExplosion,
            };
            spectra.push(GateSpectrum {
                cell: network.weights().cell_id(index),
                gate,
                singular_values,
                eigenvalues,
                slope_bound,
                implication,
            });
        }
    }
    Ok(spectra)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Matrix;

    fn square(size: usize, entry: impl Fn(usize, usize) -> f64) -> Matrix<f64> {
        let entries = (0..size * size).map(|index| entry(index / size, index % size)).collect();
        Matrix::new(size, size, entries).unwrap()
    }

    #[test]
    fn the_radius_of_known_matrices() {
        let cycle = square(4, |i, j| f64::from(u8::from((i + 1) % 4 == j)));
        assert!((spectral_radius(cycle.view()) - 1.0).abs() < 1e-14);
        let jordan_block = square(3, |i, j| if i == j { 0.5 } else { f64::from(u8::from(i + 1 == j)) });
        assert!((spectral_radius(jordan_block.view()) - 0.5).abs() < 1e-14);
        let rotation = square(2, |i, j| [[3.0, -4.0], [4.0, 3.0]][i][j]);
        assert!((spectral_radius(rotation.view()) - 5.0).abs() < 1e-14);
        let nilpotent = square(2, |i, j| f64::from(u8::from(i < j)));
        assert_eq!(spectral_radius(nilpotent.view()), 0.0);
    }

    #[test]
    fn a_matrix_that_is_not_finite_has_no_measure() {
        let broken = Matrix::new(1, 1, vec![f64::NAN]).unwrap();
        assert!(sigma_max(broken.view()).is_nan() && spectral_radius(broken.view()).is_nan());
    }
}
