//! Which vector registers the kernels compute with: found out at run time, once for each call.

use pulp::{Arch, WithSimd};
use std::sync::atomic::{AtomicU8, Ordering};

/// Vector registers, from the narrowest up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Registers {
    /// One number at a time, products and sums rounded apart: any processor.
    Portable,
    /// 256 bits, with fused multiplication and addition (AVX2 and FMA).
    Avx2,
    /// The widest there are: 512 bits (AVX-512) on x86-64, NEON elsewhere.
    Widest,
}

/// What is not to be gone beyond. The number stands for itself, so that no order with other memory is needed; each call reads it
/// once, and what was packed for other registers is refused by `Packed::registers`.
static LIMIT: AtomicU8 = AtomicU8::new(Registers::Widest as u8);

/// Keeps every kernel of this process to these registers or narrower ones: to measure one kind against another, or to test
/// that they agree. Results of fused registers are the same whatever their width; portable ones differ in last bits.
pub fn limit(to: Registers) {
    LIMIT.store(to as u8, Ordering::Relaxed);
}

/// What the kernels compute with, in words.
pub fn name() -> &'static str {
    match arch() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "AVX2",
        Arch::Scalar => "portable",
        #[allow(unreachable_patterns)] // on x86-64 there is nothing else
        _ => "vectors",
    }
}

#[inline]
fn arch() -> Arch {
    let limit = LIMIT.load(Ordering::Relaxed);
    if limit == Registers::Portable as u8 {
        return Arch::Scalar;
    }
    #[cfg(target_arch = "x86_64")]
    if limit == Registers::Avx2 as u8 {
        return pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3);
    }
    Arch::new()
}

/// Runs `operation` compiled for the registers there are.
#[inline(always)]
pub(crate) fn dispatch<Op: WithSimd>(operation: Op) -> Op::Output {
    arch().dispatch(operation)
}

/// Runs `operation` with the proof of the registers there are, but not compiled for them: what it hands to
/// [`pulp::Simd::vectorize`] then stays a function of its own, with all registers to itself.
#[inline(always)]
pub(crate) fn dispatch_apart<Op: WithSimd>(operation: Op) -> Op::Output {
    match arch() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => operation.with_simd(simd),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => operation.with_simd(simd),
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(simd) => operation.with_simd(simd),
        _ => operation.with_simd(pulp::Scalar::new()),
    }
}
