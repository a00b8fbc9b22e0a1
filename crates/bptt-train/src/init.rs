//! Initialization of weight matrices, and their scale.
//!
//! Everything is computed in f64 and then rounded, so that f32 and f64 networks have the same initial weights.

use std::fmt;
use std::str::FromStr;

use bptt::dynamics::{sigma_max, spectral_radius};
use bptt::{Matrix, Real};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::options::Options;
use crate::{Error, Rng};

/// The initialization of a weight matrix.
///
/// Written, on the command line and in files, as `uniform`, `uniform:0.1`, `normal:0.01`, `sparse:nonzeros=15,std=0.01`,
/// `xavier`, `orthogonal` or `identity`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Init {
    /// Uniform in ±bound; without a bound in ±1/√H, as in `torch.nn.RNNBase` for all weights and biases.
    Uniform {
        /// The bound; `None` for 1/√H.
        bound: Option<f64>,
    },
    /// Normal with mean 0.
    Normal {
        /// The standard deviation; 0.01 by default.
        std: f64,
    },
    /// A fixed number of entries per row, at random positions, normal with mean 0, and zeros elsewhere (Martens 2010;
    /// Pascanu et al. 2013 scale it to a spectral radius of 0.95).
    Sparse {
        /// Number of nonzero entries per row; 15 by default.
        nonzeros: usize,
        /// Their standard deviation; 0.01 by default.
        std: f64,
    },
    /// Uniform in ±√(6 / (rows + columns)) (Glorot and Bengio 2010).
    Xavier,
    /// Orthonormal rows or columns, whichever are fewer, uniform among all such matrices (Saxe et al. 2014).
    Orthogonal,
    /// Ones on the diagonal (Le et al. 2015).
    Identity,
}

/// A (rows, cols) matrix; `hidden` is the H of [`Init::Uniform`]'s default bound.
pub fn matrix<T: Real>(init: Init, rows: usize, cols: usize, hidden: usize, rng: &mut Rng) -> Matrix<T> {
    let uniform = |bound: f64, rng: &mut Rng| from_fn(rows, cols, |_, _| rng.uniform_in(-bound, bound));
    match init {
        Init::Uniform { bound } => uniform(bound.unwrap_or(1.0 / (hidden as f64).sqrt()), rng),
        Init::Normal { std } => from_fn(rows, cols, |_, _| std * rng.normal()),
        Init::Sparse { nonzeros, std } => sparse(rows, cols, nonzeros, std, rng),
        Init::Xavier => uniform((6.0 / (rows + cols) as f64).sqrt(), rng),
        Init::Orthogonal => orthogonal(rows, cols, rng),
        Init::Identity => from_fn(rows, cols, |i, j| f64::from(u8::from(i == j))),
    }
}

fn sparse<T: Real>(rows: usize, cols: usize, nonzeros: usize, std: f64, rng: &mut Rng) -> Matrix<T> {
    let mut matrix = Matrix::zeros(rows, cols);
    let mut places: Vec<usize> = (0..cols).collect();
    for i in 0..rows {
        rng.shuffle(&mut places);
        for &j in places.iter().take(nonzeros) {
            matrix.row_mut(i)[j] = T::of(std * rng.normal());
        }
    }
    matrix
}

/// Q of the QR decomposition of a Gaussian matrix, with the signs of its columns chosen so that the diagonal of R is
/// positive; otherwise the distribution would depend on the algorithm (Mezzadri 2007).
fn orthogonal<T: Real>(rows: usize, cols: usize, rng: &mut Rng) -> Matrix<T> {
    let (long, short) = (rows.max(cols), rows.min(cols));
    let (mut q, r) = DMatrix::from_fn(long, short, |_, _| rng.normal()).qr().unpack();
    for j in 0..short {
        q.column_mut(j).scale_mut(r[(j, j)].signum());
    }
    from_fn(rows, cols, |i, j| if rows >= cols { q[(i, j)] } else { q[(j, i)] })
}

/// Scales the matrix to the largest singular value `target`.
///
/// # Errors
/// If that value is 0 or not finite.
pub fn scale_to_sigma_max<T: Real>(matrix: &mut Matrix<T>, target: f64) -> Result<(), Error> {
    let sigma = sigma_max(matrix.view());
    scale("sigma_max", matrix, sigma, target)
}

/// Scales the matrix to the spectral radius `target`.
///
/// # Errors
/// If the matrix is not square, or if that modulus is 0 or not finite.
pub fn scale_to_spectral_radius<T: Real>(matrix: &mut Matrix<T>, target: f64) -> Result<(), Error> {
    if matrix.rows() != matrix.cols() {
        return Err(Error::Scale {
            setting: "spectral_radius",
            given: format!("a ({}, {}) matrix", matrix.rows(), matrix.cols()),
            expected: "a square one, or sigma_max instead",
        });
    }
    let radius = spectral_radius(matrix.view());
    scale("spectral_radius", matrix, radius, target)
}

fn scale<T: Real>(
    setting: &'static str,
    matrix: &mut Matrix<T>,
    measured: f64,
    target: f64,
) -> Result<(), Error> {
    // An eigenvalue that is 0 by construction may be a tiny number after rounding.
    let largest = matrix.data().iter().fold(0.0_f64, |largest, w| largest.max(w.f64().abs()));
    if !measured.is_finite() || measured <= largest * f64::EPSILON {
        return Err(Error::Scale {
            setting,
            given: format!("{target} for a matrix with {measured}"),
            expected: "a matrix where it is finite and above 0",
        });
    }
    for w in matrix.data_mut() {
        *w = T::of(w.f64() * (target / measured));
    }
    Ok(())
}

fn from_fn<T: Real>(rows: usize, cols: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Matrix<T> {
    let mut matrix = Matrix::zeros(rows, cols);
    for i in 0..rows {
        for (j, w) in matrix.row_mut(i).iter_mut().enumerate() {
            *w = T::of(entry(i, j));
        }
    }
    matrix
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform { bound: None } => f.write_str("uniform"),
            Self::Uniform { bound: Some(bound) } => write!(f, "uniform:{bound:?}"),
            Self::Normal { std } => write!(f, "normal:{std:?}"),
            Self::Sparse { nonzeros, std } => write!(f, "sparse:nonzeros={nonzeros},std={std:?}"),
            Self::Xavier => f.write_str("xavier"),
            Self::Orthogonal => f.write_str("orthogonal"),
            Self::Identity => f.write_str("identity"),
        }
    }
}

impl FromStr for Init {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        let expected =
            "uniform, uniform:0.1, normal:0.01, sparse:nonzeros=15,std=0.01, xavier, orthogonal or identity";
        let mut options = Options::parse("init", expected, given);
        let width = |&width: &f64| width >= 0.0 && width.is_finite();
        let init = match options.name() {
            "uniform" => Self::Uniform { bound: options.take("bound", width)? },
            "normal" => Self::Normal { std: options.take("std", width)?.unwrap_or(0.01) },
            "sparse" => Self::Sparse {
                nonzeros: options.take("nonzeros", |count| *count > 0)?.unwrap_or(15),
                std: options.take("std", width)?.unwrap_or(0.01),
            },
            "xavier" => Self::Xavier,
            "orthogonal" => Self::Orthogonal,
            "identity" => Self::Identity,
            _ => return Err(options.error()),
        };
        options.finish(init)
    }
}

impl TryFrom<String> for Init {
    type Error = Error;

    fn try_from(given: String) -> Result<Self, Error> {
        given.parse()
    }
}

impl From<Init> for String {
    fn from(init: Init) -> Self {
        init.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_nalgebra(matrix: &Matrix<f64>) -> DMatrix<f64> {
        DMatrix::from_row_slice(matrix.rows(), matrix.cols(), matrix.data())
    }

    fn random<T: Real>(init: Init, rows: usize, cols: usize) -> Matrix<T> {
        matrix(init, rows, cols, 64, &mut Rng::new(5, 0))
    }

    fn mean_and_std(matrix: &Matrix<f64>) -> (f64, f64) {
        let n = matrix.data().len() as f64;
        let mean = matrix.data().iter().sum::<f64>() / n;
        (mean, (matrix.data().iter().map(|w| (w - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    fn extent(matrix: &Matrix<f64>) -> f64 {
        matrix.data().iter().fold(0.0, |largest, w| largest.max(w.abs()))
    }

    #[test]
    fn orthogonal_rows_or_columns_are_orthonormal() {
        for (rows, cols) in [(24, 24), (24, 10), (10, 24)] {
            let w = to_nalgebra(&random::<f64>(Init::Orthogonal, rows, cols));
            let gram = if rows >= cols { w.transpose() * &w } else { &w * w.transpose() };
            let error = (&gram - DMatrix::identity(gram.nrows(), gram.ncols())).amax();
            assert!(error < 1e-12, "({rows}, {cols}): {error:e}");
        }
    }

    /// Uniform among orthogonal matrices, the trace has mean 0 and variance 1; unfixed signs would give a mean far off.
    #[test]
    fn orthogonal_matrices_lean_to_no_side() {
        let mut rng = Rng::new(6, 0);
        let traces: Vec<f64> = (0..2000)
            .map(|_| to_nalgebra(&matrix::<f64>(Init::Orthogonal, 4, 4, 4, &mut rng)).trace())
            .collect();
        let (mean, std) = mean_and_std(&Matrix::new(1, 2000, traces).unwrap());
        assert!(mean.abs() < 0.1 && (std - 1.0).abs() < 0.1, "{mean} {std}");
    }

    #[test]
    fn uniform_fills_the_bounds_of_pytorch() {
        let w = random(Init::Uniform { bound: None }, 200, 100);
        let bound = 1.0 / 8.0; // 1/√64
        let (mean, std) = mean_and_std(&w);
        assert!(extent(&w) <= bound && extent(&w) > 0.999 * bound);
        assert!(mean.abs() < 0.002 && (std / (bound / 3.0_f64.sqrt()) - 1.0).abs() < 0.02, "{mean} {std}");
        assert!(extent(&random(Init::Uniform { bound: Some(3.0) }, 200, 100)) > 2.99);
    }

    #[test]
    fn normal_and_xavier_have_their_moments() {
        let (mean, std) = mean_and_std(&random(Init::Normal { std: 0.01 }, 200, 100));
        assert!(mean.abs() < 3e-4 && (std / 0.01 - 1.0).abs() < 0.02, "{mean} {std}");
        let w = random(Init::Xavier, 200, 100);
        let bound = (6.0_f64 / 300.0).sqrt();
        assert!(extent(&w) <= bound && extent(&w) > 0.999 * bound);
    }

    #[test]
    fn sparse_rows_have_their_entries_and_moments() {
        let w = random::<f64>(Init::Sparse { nonzeros: 15, std: 0.01 }, 400, 50);
        assert!((0..400).all(|i| w.row(i).iter().filter(|&&w| w != 0.0).count() == 15));
        // Every place is as likely: 400 · 15/50 = 120 of each column, standard deviation 9.
        let used = |j: usize| (0..400).filter(|&i| w.row(i)[j] != 0.0).count();
        assert!((0..50).all(|j| (80..160).contains(&used(j))));
        let (mean, std) = mean_and_std(&w);
        assert!(mean.abs() < 2e-4 && (std / (0.01 * 0.3_f64.sqrt()) - 1.0).abs() < 0.03, "{mean} {std}");
        let narrow = random::<f64>(Init::Sparse { nonzeros: 15, std: 1.0 }, 3, 4);
        assert!(narrow.data().iter().all(|&w| w != 0.0));
        let mut w = random::<f64>(Init::Sparse { nonzeros: 15, std: 0.01 }, 50, 50);
        scale_to_spectral_radius(&mut w, 0.95).unwrap();
        assert!((spectral_radius(w.view()) - 0.95).abs() < 1e-10);
    }

    #[test]
    fn scaling_meets_its_target() {
        let mut w = random::<f64>(Init::Normal { std: 1.0 }, 20, 20);
        scale_to_sigma_max(&mut w, 1.25).unwrap();
        assert!((sigma_max(w.view()) - 1.25).abs() < 1e-10);
        scale_to_spectral_radius(&mut w, 0.9).unwrap();
        assert!((spectral_radius(w.view()) - 0.9).abs() < 1e-10);
        let eigenvalues = to_nalgebra(&w).complex_eigenvalues();
        let largest = eigenvalues.iter().fold(0.0_f64, |largest, value| largest.max(value.norm()));
        assert!((largest - 0.9).abs() < 1e-10, "{largest}");
        let mut rounded = random::<f32>(Init::Normal { std: 1.0 }, 8, 12);
        scale_to_sigma_max(&mut rounded, 2.0).unwrap();
        assert!((sigma_max(rounded.view()) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn what_has_no_scale_is_refused() {
        let mut nilpotent = Matrix::<f64>::new(2, 2, vec![0.0, 1.0, 0.0, 0.0]).unwrap();
        assert_eq!(spectral_radius(nilpotent.view()), 0.0);
        assert!(scale_to_spectral_radius(&mut nilpotent, 1.0).is_err());
        assert!(scale_to_sigma_max(&mut Matrix::<f64>::zeros(2, 3), 1.0).is_err());
        assert_eq!(
            scale_to_spectral_radius(&mut Matrix::<f64>::zeros(2, 3), 1.0).unwrap_err().to_string(),
            "spectral_radius: a (2, 3) matrix is not possible; expected a square one, or sigma_max instead"
        );
        let broken = Matrix::new(1, 1, vec![f64::NAN]).unwrap();
        assert!(sigma_max(broken.view()).is_nan() && spectral_radius(broken.view()).is_nan());
    }

    #[test]
    fn initializers_are_read_as_they_are_shown() {
        let sparse = "sparse:nonzeros=4,std=0.5";
        for text in ["uniform", "uniform:0.1", "normal:0.01", sparse, "xavier", "orthogonal", "identity"] {
            let init: Init = text.parse().unwrap();
            assert_eq!(init.to_string(), text);
            let json = serde_json::to_string(&init).unwrap();
            assert_eq!(serde_json::from_str::<Init>(&json).unwrap(), init);
        }
        for text in ["zeros", "xavier:1", "normal:-1", "normal:x", "uniform:width=1"] {
            assert!(text.parse::<Init>().is_err(), "{text}");
        }
    }
}
