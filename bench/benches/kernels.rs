//! The kernels that training and itemizing spend their time in, on one thread, at the shapes of `compare`: a rate of
//! elements is one of floating-point operations for products (a multiplication and an addition are two), of numbers elsewhere.

use std::hint::black_box;

use bptt::View;
use bptt::kernel::{self, Packed};
use bptt_train::Rng;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Numbers within ±1.
#[allow(clippy::cast_possible_truncation)] // rounding is what is meant
fn numbers(count: usize) -> Vec<f32> {
    let mut rng = Rng::new(1, 0);
    (0..count).map(|_| rng.uniform_in(-1.0, 1.0) as f32).collect()
}

/// The product of one step, (m, k) with a packed (k, n), at A, B, C, D and in a block of losses.
fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    for (m, k, n) in
        [(16, 128, 128), (32, 256, 256), (32, 512, 512), (32, 512, 2048), (1, 100, 100), (64, 256, 256)]
    {
        let (a, b, mut out) = (numbers(m * k), numbers(k * n), numbers(m * n));
        let packed = Packed::new(View::new(k, n, &b));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group.bench_function(BenchmarkId::from_parameter(format_args!("{m}x{k}x{n}")), |bencher| {
            bencher.iter(|| kernel::product_packed(black_box(&mut out), false, View::new(m, k, &a), &packed));
        });
    }
    group.finish();
}

/// The weight gradient of a whole pass, the outer products of r rows of m and of n numbers, at A, B and C.
fn gradient(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gradient");
    for (r, m, n) in [(1024, 128, 128), (4096, 256, 256), (4096, 512, 512), (4096, 1024, 256)] {
        let (a, b, mut out) = (numbers(r * m), numbers(r * n), numbers(m * n));
        group.throughput(Throughput::Elements(2 * (r * m * n) as u64));
        group.bench_function(BenchmarkId::from_parameter(format_args!("{r}x{m}x{n}")), |bencher| {
            bencher.iter(|| {
                let (a, b) = (View::new(r, m, &a), View::new(r, n, &b));
                kernel::sum_of_outer_products(black_box(&mut out), false, a, b);
            });
        });
    }
    group.finish();
}

/// Packing a W of this many units, as it is and transposed: once for each update.
fn packing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packing");
    for n in [100, 256, 512] {
        let w = numbers(n * n);
        let mut packed = Packed::new(View::new(n, n, &w));
        group.throughput(Throughput::Elements((n * n) as u64));
        group.bench_function(BenchmarkId::new("as it is", n), |bencher| {
            bencher.iter(|| packed.fill(black_box(View::new(n, n, &w))));
        });
        group.bench_function(BenchmarkId::new("transposed", n), |bencher| {
            bencher.iter(|| packed.fill_transposed(black_box(View::new(n, n, &w))));
        });
    }
    group.finish();
}

/// tanh, σ and exp of as many numbers as fit in the first-level cache.
fn activations(criterion: &mut Criterion) {
    type Function = fn(&mut [f32]);
    let functions: [(&str, Function); 3] =
        [("tanh", kernel::tanh), ("sigmoid", kernel::sigmoid), ("exp", kernel::exp)];
    let mut group = criterion.benchmark_group("activations");
    let mut numbers = numbers(4096);
    group.throughput(Throughput::Elements(numbers.len() as u64));
    for (name, function) in functions {
        // Again and again in place: how long it takes does not depend on the numbers.
        group.bench_function(name, |bencher| bencher.iter(|| function(black_box(&mut numbers))));
    }
    group.finish();
}

criterion_group!(kernels, step, gradient, packing, activations);
criterion_main!(kernels);
