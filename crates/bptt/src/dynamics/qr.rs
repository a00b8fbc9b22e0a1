//! The QR decomposition of vectors that stand in rows, by blocked Householder reflections.
//!
//! ```text
//! aᵀ = Q R      a: (m, N), its rows the vectors      Q: N × m, orthonormal columns      R: m × m, upper triangular
//! H = I − τ v vᵀ                     one reflection
//! H_1 ⋯ H_n = I − V T Vᵀ             a panel of them (Schreiber and Van Loan 1989); T is upper triangular
//! ```
//!
//! nalgebra's decomposition does one reflection at a time on columns; panels do most of the work in products, which at N = 80
//! takes a fifth of the time, and rows are how states lie in memory. Householder's Q is orthonormal whatever the vectors,
//! even where they depend on each other, as Gram and Schmidt's is not.

use crate::array::View;
use crate::kernel;
use crate::kernel::Products;
use crate::kernel::{Packed, Start};

/// Reflections of a panel.
const PANEL: usize = 16;

/// Reflections I − V T Vᵀ that leave the components before `first` alone.
struct Panel {
    first: usize,
    /// The vectors v, rows of N − first numbers: (n, N − first).
    v: Packed<f64>,
    /// Vᵀ, (N − first, n).
    v_transposed: Packed<f64>,
    /// T, (n, n).
    t: Packed<f64>,
    /// Tᵀ, (n, n).
    t_transposed: Packed<f64>,
}

impl Panel {
    fn shaped() -> Self {
        let empty = || Packed::shaped(0, 0);
        Self { first: 0, v: empty(), v_transposed: empty(), t: empty(), t_transposed: empty() }
    }

    fn fill(&mut self, first: usize, v: View<'_, f64>, t: View<'_, f64>) {
        self.first = first;
        for (packed, matrix, transposed) in [
            (&mut self.v, v, false),
            (&mut self.v_transposed, v, true),
            (&mut self.t, t, false),
            (&mut self.t_transposed, t, true),
        ] {
            if transposed {
                packed.reshape(matrix.cols(), matrix.rows());
                packed.fill_transposed(matrix);
            } else {
                packed.reshape(matrix.rows(), matrix.cols());
                packed.fill(matrix);
            }
        }
    }

    /// Rows from `from` on ← (I − V T Vᵀ) row, or with Tᵀ in its place: row − (row V) Tᵀ Vᵀ, or T.
    fn reflect(
        &self,
        rows: &mut [f64],
        dimension: usize,
        from: usize,
        transposed: bool,
        memory: &mut [Vec<f64>; 2],
    ) {
        let count = rows.len() / dimension - from;
        let n = self.t.rows();
        let [along, turned] = memory;
        along.resize(count * n, 0.0);
        turned.resize(count * n, 0.0);
        let columns = View::new(count, dimension, &rows[from * dimension..]).columns(self.first..dimension);
        f64::multiply(along, n, Start::Zero, columns, &self.v_transposed);
        let t = if transposed { &self.t } else { &self.t_transposed };
        f64::multiply(turned, n, Start::Zero, View::new(count, n, along), t);
        for number in turned.iter_mut() {
            *number = -*number;
        }
        if count > 0 {
            let rows = &mut rows[from * dimension + self.first..];
            f64::multiply(rows, dimension, Start::Out, View::new(count, n, turned), &self.v);
        }
    }
}

/// The decomposition of m vectors of N numbers, again and again in the same memory.
pub(crate) struct Qr {
    panels: Vec<Panel>,
    v: Vec<f64>,
    t: Vec<f64>,
    memory: [Vec<f64>; 2],
}

impl Qr {
    pub fn new() -> Self {
        Self { panels: Vec::new(), v: Vec::new(), t: Vec::new(), memory: [Vec::new(), Vec::new()] }
    }

    /// `rows`, (m, N) with m ≤ N, come as vectors and leave as orthonormal ones that span the same, the first the first, the
    /// first two the first two, and so on. `r`, (m, m): Rᵀ, whose row j says what vector j was of the orthonormal ones.
    /// Diagonal entries of R may be negative.
    pub fn decompose(&mut self, rows: &mut [f64], dimension: usize, r: &mut [f64]) {
        let count = rows.len() / dimension;
        assert!(count <= dimension, "no more than N vectors are independent");
        let panels = count.div_ceil(PANEL);
        self.panels.resize_with(panels.max(self.panels.len()), Panel::shaped);
        for p in 0..panels {
            let (first, end) = (p * PANEL, count.min((p + 1) * PANEL));
            self.reflect_panel(rows, dimension, first, end);
            let v = View::new(end - first, dimension - first, &self.v);
            self.panels[p].fill(first, v, View::new(end - first, end - first, &self.t));
            self.panels[p].reflect(rows, dimension, end, true, &mut self.memory);
        }
        for (j, (row, r)) in rows.chunks_exact(dimension).zip(r.chunks_exact_mut(count)).enumerate() {
            r[..=j].copy_from_slice(&row[..=j]);
            r[j + 1..].fill(0.0);
        }
        rows.fill(0.0);
        rows.iter_mut().step_by(dimension + 1).for_each(|number| *number = 1.0);
        for panel in self.panels[..panels].iter().rev() {
            panel.reflect(rows, dimension, panel.first, false, &mut self.memory);
        }
    }

    /// Reflects vectors `first` to `end` onto their part of R, one after another; leaves V and T.
    fn reflect_panel(&mut self, rows: &mut [f64], dimension: usize, first: usize, end: usize) {
        let (n, width) = (end - first, dimension - first);
        let Self { v: all_v, t, .. } = self;
        all_v.clear();
        all_v.resize(n * width, 0.0);
        t.clear();
        t.resize(n * n, 0.0);
        for j in first..end {
            let (before, after) = rows.split_at_mut((j + 1) * dimension);
            let x = &mut before[j * dimension + j..];
            let (earlier, v) = all_v.split_at_mut((j - first) * width);
            let v = &mut v[j - first..width];
            let tau = reflection(x, v);
            for row in after.chunks_exact_mut(dimension).take(end - j - 1) {
                let along = kernel::dot(&row[j..], v);
                kernel::add_scaled(&mut row[j..], -tau * along, v);
            }
            // T of one reflection more: its column is −τ T (Vᵀ v), and τ.
            let i = j - first;
            let products: Vec<f64> =
                (0..i).map(|a| kernel::dot(&earlier[a * width + i..(a + 1) * width], v)).collect();
            for a in 0..i {
                let sum: f64 = (a..i).map(|b| t[a * n + b] * products[b]).sum();
                t[a * n + i] = -tau * sum;
            }
            t[i * n + i] = tau;
        }
    }
}

/// x ← (β, 0, …) with |β| = ‖x‖, by the reflection I − τ v vᵀ with v_0 = 1. Returns τ.
fn reflection(x: &mut [f64], v: &mut [f64]) -> f64 {
    v[0] = 1.0;
    let tail = kernel::dot(&x[1..], &x[1..]);
    if tail == 0.0 {
        return 0.0;
    }
    let beta = -(x[0] * x[0] + tail).sqrt().copysign(x[0]);
    let scale = 1.0 / (x[0] - beta);
    for (v, x) in v[1..].iter_mut().zip(&x[1..]) {
        *v = x * scale;
    }
    let tau = (beta - x[0]) / beta;
    x.fill(0.0);
    x[0] = beta;
    tau
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 7919 + 13) % 1009) as f64 / 504.5 - 1.0).collect()
    }

    #[test]
    fn vectors_are_what_r_makes_of_orthonormal_ones() {
        let mut qr = Qr::new();
        for (m, n) in [(1, 1), (1, 5), (5, 5), (16, 16), (17, 20), (33, 40), (75, 80)] {
            let vectors = numbers(m * n);
            let (mut q, mut r) = (vectors.clone(), vec![f64::NAN; m * m]);
            qr.decompose(&mut q, n, &mut r);
            let mut again = vec![0.0; m * n];
            kernel::product(&mut again, false, View::new(m, m, &r), View::new(m, n, &q));
            let mut gram = vec![0.0; m * m];
            kernel::product_transposed(&mut gram, false, View::new(m, n, &q), View::new(m, n, &q));
            let error =
                |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let identity: Vec<f64> = (0..m * m).map(|i| if i % (m + 1) == 0 { 1.0 } else { 0.0 }).collect();
            assert!(error(&again, &vectors) < 1e-13, "({m}, {n})");
            assert!(error(&gram, &identity) < 1e-14, "({m}, {n})");
        }
    }

    #[test]
    fn dependent_vectors_leave_orthonormal_ones_and_a_zero() {
        let mut q = [1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 0.0, 0.0, 0.0];
        let mut r = [0.0; 9];
        Qr::new().decompose(&mut q, 3, &mut r);
        assert!((r[0].abs() - 3.0).abs() < 1e-15 && r[4].abs() < 1e-15 && r[8] == 0.0);
        for (i, j) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] {
            let dot: f64 = (0..3).map(|k| q[3 * i + k] * q[3 * j + k]).sum();
            assert!((dot - if i == j { 1.0 } else { 0.0 }).abs() < 1e-15);
        }
    }
}
