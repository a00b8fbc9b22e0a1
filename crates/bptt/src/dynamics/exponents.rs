//! Lyapunov exponents from Jacobians of any origin.

use super::qr::Qr;
use crate::array::View;
use crate::{Error, kernel};

/// The leading Lyapunov exponents of a product of Jacobians, by carrying orthonormal tangent vectors along (Benettin et al.
/// 1980): every Jacobian J_t moves them, and from time to time they are made orthonormal again,
///
/// ```text
/// J_t Q_{t−1} = Q_t R_t               λ_i = 1/T Σ_t ln |R_t,ii|
/// ```
///
/// λ_1 + … + λ_i is the rate, in nats per step, at which volumes of i dimensions grow; the exponents come with the largest
/// first once Q has found its directions, which a warm-up and [`Exponents::restart`] leave out.
///
/// ```
/// use bptt::dynamics::Exponents;
/// use bptt::Matrix;
///
/// // A shear that doubles one direction and halves another.
/// let jacobian = Matrix::new(2, 2, vec![2.0, 1.0, 0.0, 0.5])?;
/// let mut exponents = Exponents::new(2, 2)?;
/// for step in 0..200 {
///     if step == 100 {
///         exponents.restart();
///     }
///     exponents.advance(jacobian.view());
///     exponents.orthonormalize();
/// }
/// let found = exponents.values();
/// assert!((found[0] - 2f64.ln()).abs() < 1e-12 && (found[1] + 2f64.ln()).abs() < 1e-12);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Exponents {
    dimension: usize,
    count: usize,
    /// (m, N), a vector in each row.
    vectors: Vec<f64>,
    image: Vec<f64>,
    /// Rᵀ, (m, m).
    r: Vec<f64>,
    qr: Qr,
    /// Σ ln |R_ii|.
    sums: Vec<f64>,
    /// Steps in `sums`.
    steps: usize,
    /// Steps since the vectors were orthonormal.
    pending: usize,
}

impl std::fmt::Debug for Exponents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dimension, count, steps, .. } = self;
        write!(f, "Exponents {{ dimension: {dimension}, count: {count}, steps: {steps}, … }}")
    }
}

impl Exponents {
    /// The `count` leading exponents of states of `dimension` numbers. The first vectors are fixed and irregular, so that
    /// no network has them for directions of its own.
    ///
    /// # Errors
    /// If `count` is 0 or above `dimension`.
    pub fn new(dimension: usize, count: usize) -> Result<Self, Error> {
        check_count(count, dimension)?;
        let mut vectors = start(dimension, count);
        let (mut r, mut qr) = (vec![0.0; count * count], Qr::new());
        qr.decompose(&mut vectors, dimension, &mut r);
        let image = vec![0.0; vectors.len()];
        Ok(Self { dimension, count, vectors, image, r, qr, sums: vec![0.0; count], steps: 0, pending: 0 })
    }

    /// The tangent vectors, one in each row: (m, N).
    pub fn vectors(&self) -> View<'_, f64> {
        View::new(self.count, self.dimension, &self.vectors)
    }

    /// Moves every vector v to J v; `jacobian` is (N, N), row i the gradient of the new state's number i.
    ///
    /// # Panics
    /// If it is not (N, N).
    pub fn advance(&mut self, jacobian: View<'_, f64>) {
        let n = self.dimension;
        assert_eq!((jacobian.rows(), jacobian.cols()), (n, n), "shape of a Jacobian");
        kernel::product_transposed(&mut self.image, false, View::new(self.count, n, &self.vectors), jacobian);
        std::mem::swap(&mut self.vectors, &mut self.image);
        self.pending += 1;
    }

    /// Makes the vectors orthonormal and adds their growth to the sums. After every step, or after a few: in between, the
    /// vectors must not grow apart by more than the format's digits.
    pub fn orthonormalize(&mut self) {
        self.qr.decompose(&mut self.vectors, self.dimension, &mut self.r);
        for (sum, factor) in self.sums.iter_mut().zip(factors(&self.r, self.count)) {
            *sum += factor.ln();
        }
        self.steps += self.pending;
        self.pending = 0;
    }

    /// Forgets the growth so far, but not the directions: the end of a warm-up.
    pub fn restart(&mut self) {
        self.sums.fill(0.0);
        self.steps = 0;
    }

    /// Σ ln |R_ii| of every vector, up to the last [`Exponents::orthonormalize`].
    pub(crate) fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// How many steps the exponents are means of.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// λ_1, λ_2, … in nats per step, the mean over all steps up to the last [`Exponents::orthonormalize`]; −∞ where a vector
    /// lost all its digits in the span of those before it, as it does where Jacobians are singular; NaN before the first step.
    pub fn values(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.steps as f64).collect()
    }
}

/// |R_jj| for all j, from Rᵀ; 0 where it is no more than the rounding of vector j.
pub(crate) fn factors(r: &[f64], count: usize) -> impl Iterator<Item = f64> {
    r.chunks_exact(count).enumerate().map(move |(j, row)| {
        let size = kernel::dot(row, row).sqrt();
        let factor = row[j].abs();
        if factor <= size * f64::EPSILON * count as f64 { 0.0 } else { factor }
    })
}

/// The vectors to begin with, (m, N): the fractional parts of (k + 1)²/golden ratio, less a half, k counting all numbers.
pub(crate) fn start(dimension: usize, count: usize) -> Vec<f64> {
    const INVERSE_GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;
    let number = |k: usize| {
        let square = ((k + 1) * (k + 1)) as f64;
        (square * INVERSE_GOLDEN_RATIO).fract() - 0.5
    };
    (0..count * dimension).map(number).collect()
}

/// Refuses a number of exponents that a state of `dimension` numbers does not have.
pub(crate) fn check_count(count: usize, dimension: usize) -> Result<(), Error> {
    if (1..=dimension).contains(&count) {
        return Ok(());
    }
    Err(Error::Value {
        option: "exponents".into(),
        given: count.to_string(),
        expected: format!("1 to {dimension}, the size of the state"),
    })
}
