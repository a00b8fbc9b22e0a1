//! The compute roofline of the machine: the rate of fused multiply-adds from registers, without memory traffic.

use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

/// Iterations of one measurement.
const ROUNDS: usize = 2_000_000;

struct Multiply(f32);

impl WithSimd for Multiply {
    type Output = (f32, usize);

    #[inline(always)]
    #[allow(clippy::inline_always)] // compiled for the registers of its caller
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        // Enough independent sums to hide the latency of an addition, few enough to stay in registers.
        if S::REGISTER_COUNT >= 32 {
            multiply::<S, 24>(simd, self.0)
        } else {
            multiply::<S, 12>(simd, self.0)
        }
    }
}

/// The total of `SUMS` running sums, and how many multiplications it took.
#[inline(always)]
#[allow(clippy::inline_always)] // compiled for the registers of its caller
fn multiply<S: Simd, const SUMS: usize>(simd: S, number: f32) -> (f32, usize) {
    let (a, b) = (simd.splat_f32s(number), simd.splat_f32s(number * 1e-3));
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = simd.mul_add_e_f32s(a, b, *sum);
        }
    }
    let total = sums.into_iter().reduce(|x, y| simd.add_f32s(x, y)).expect("there are sums");
    (simd.reduce_sum_f32s(total), ROUNDS * SUMS * S::F32_LANES)
}

/// Floating-point operations (a multiply-add counts as two) per second, in f32, on `threads` threads: one number for each of
/// `tries`.
pub fn measure(threads: usize, tries: usize) -> Vec<f64> {
    let once = || {
        let start = Instant::now();
        let operations: usize = std::thread::scope(|scope| {
            let run = || {
                let (total, operations) = Arch::new().dispatch(Multiply(std::hint::black_box(0.5)));
                std::hint::black_box(total);
                operations
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
        });
        2.0 * operations as f64 / start.elapsed().as_secs_f64()
    };
    (0..tries).map(|_| once()).collect()
}

/// The best of seven tries.
pub fn best(threads: usize) -> f64 {
    measure(threads, 7).into_iter().fold(0.0, f64::max)
}
