//! The products and small vector operations that cells, scans and itemizing call, on whatever vector registers the
//! processor has.
//!
//! Every function works on one thread and adds up in an order that depends on the shapes alone, so a result never
//! depends on the number of threads that call it. Fused registers of any width give the same bits.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

/// Defines functions of slices that run on vector registers: their bodies are compiled for each kind of registers `S`, of
/// which `simd` is the proof that the processor has it.
macro_rules! on_registers {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident<$life:lifetime, $t:ident: $bound:ident $(, const $n:ident: usize)?>(
        $simd:ident $(, $argument:ident: $type:ty)* $(,)?
    ) -> $output:ty $body:block)*) => {
        $($(#[$meta])*
        $visibility fn $name<$life, $t: $bound $(, const $n: usize)?>($($argument: $type),*) -> $output {
            struct Call<$life, $t $(, const $n: usize)?> {
                $($argument: $type,)*
                types: std::marker::PhantomData<&$life $t>,
            }

            impl<$life, $t: $bound $(, const $n: usize)?> pulp::WithSimd for Call<$life, $t $(, $n)?> {
                type Output = $output;

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, $simd: S) -> $output {
                    let Self { $($argument,)* .. } = self;
                    $body
                }
            }

            $crate::kernel::registers::dispatch(Call { $($argument,)* types: std::marker::PhantomData })
        })*
    };
}

pub(crate) use on_registers;

pub(crate) mod activation;
pub(crate) mod columns;
mod format;
pub(crate) mod lanes;
mod norm;
mod number;
mod outer_product;
mod packed;
mod prefetch;
mod product;
mod range;
mod real;
pub mod registers;
mod tile;
mod vectors;

pub use format::Format;
pub(crate) use format::bf16;
pub(crate) use norm::{distance, inner, norm, to_unit_length};
pub use number::Number;
pub use packed::Packed;
pub(crate) use packed::transpose;
pub(crate) use prefetch::prefetch;
pub(crate) use product::{Products, Start};
pub use real::Real;
pub(crate) use tile::TILE_ROWS;
pub(crate) use vectors::add_to_rows;
pub use vectors::{
    add_rows, add_scaled, dot, exp, largest, multiply_by, power_of_two, product, product_packed,
    product_transposed, sigmoid, sum_of_outer_products, sum_of_sizes, tanh,
};
