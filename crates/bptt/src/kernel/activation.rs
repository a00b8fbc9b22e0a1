//! e^x, tanh and σ of many numbers at once, on whatever vector registers the processor has.
//!
//! Every path does the same additions and multiplications in the same order, without fused ones, so the result does not
//! depend on the processor. With n = round(y log₂ e) and r = y − n ln 2, |r| ≤ ln 2 / 2,
//!
//! ```text
//! e^y − 1 = 2^n (e^r − 1) + (2^n − 1)        e^r − 1 = r + r²/2! + r³/3! + …   (to r⁸ in f32, r¹⁴ in f64)
//! tanh x = sign(x) (e^{2|x|} − 1) / (e^{2|x|} + 1)                  σ(x) = 1 / (1 + e^{−x})
//! ```
//!
//! tanh and σ lie within 4 units in the last place in f32 and within 3 in f64; e^x within 2, for results that are normal
//! numbers. Below them, e^x and σ stay at the smallest power that is reached.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::{Arch, Simd, WithSimd};

/// The two number types' constants and bits.
macro_rules! activations {
    ($module:ident, $float:ty, $bits:ty, $mantissa:literal, $bias:literal, $limit:expr, $ln2_hi:expr, $ln2_lo:expr, $coefficients:expr) => {
        pub(crate) mod $module {
            /// Adding this rounds to an integer and leaves it in the lowest bits.
            const ROUND: $float = 1.5 * (1_u64 << $mantissa) as $float;
            /// 1/k! for k from the last one down to 2.
            const COEFFICIENTS: &[$float] = &$coefficients;

            /// (2^n, e^r − 1) for y between −limit and limit; NaN stays NaN.
            #[inline(always)]
            fn parts(y: $float) -> ($float, $float) {
                let shifted = y * std::$module::consts::LOG2_E + ROUND;
                let n = shifted - ROUND;
                let r = (y - n * $ln2_hi) - n * $ln2_lo;
                let mut sum = 0.0;
                for &coefficient in COEFFICIENTS {
                    sum = sum * r + coefficient;
                }
                let power = (shifted.to_bits() << $mantissa).wrapping_add(($bias as $bits) << $mantissa);
                (<$float>::from_bits(power), r + r * r * sum)
            }

            #[inline(always)]
            fn within_limit(y: $float) -> $float {
                // Comparisons that a NaN passes through.
                let y = if y > $limit { $limit } else { y };
                if y < -$limit { -$limit } else { y }
            }

            #[inline(always)]
            pub(crate) fn exp(x: $float) -> $float {
                let (power, rest) = parts(within_limit(x));
                power + power * rest
            }

            #[inline(always)]
            pub(crate) fn sigmoid(x: $float) -> $float {
                1.0 / (1.0 + exp(-x))
            }

            #[inline(always)]
            pub(crate) fn tanh(x: $float) -> $float {
                // From 44 on both quotients are 1.
                let y = 2.0 * x.abs();
                let (power, rest) = parts(if y > 44.0 { 44.0 } else { y });
                let minus_one = power * rest + (power - 1.0);
                (minus_one / (minus_one + 2.0)).copysign(x)
            }
        }
    };
}

activations!(
    f32,
    f32,
    u32,
    23,
    127,
    87.0,
    0.693_359_4,
    -2.121_944_4e-4,
    [1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5]
);
activations!(
    f64,
    f64,
    u64,
    52,
    1023,
    708.0,
    6.931_471_803_691_238e-1,
    1.908_214_929_270_587_7e-10,
    [
        1.0 / 87_178_291_200.0,
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5
    ]
);

struct Each<'a, T, F> {
    numbers: &'a mut [T],
    function: F,
}

impl<T: Copy, F: Fn(T) -> T> WithSimd for Each<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                for number in self.numbers {
                    *number = (self.function)(*number);
                }
            },
        );
    }
}

/// x ← f(x) for all `numbers`, with the widest registers there are.
pub(crate) fn each<T: Copy>(numbers: &mut [T], function: impl Fn(T) -> T) {
    Arch::new().dispatch(Each { numbers, function });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many units in the last place of the right f32 lie between it and `found`.
    fn ulps(found: f32, right: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation)] // rounding is what is meant
        let nearest = right as f32;
        let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(found) - right).abs() / unit
    }

    fn worst(range: f32, mine: fn(f32) -> f32, right: fn(f64) -> f64) -> f64 {
        let at = |i: i32| range * (i as f32 / 200_000.0).powi(3);
        (-200_000..=200_000).map(at).map(|x| ulps(mine(x), right(f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_is_within_its_bounds() {
        let found = [
            worst(20.0, f32::tanh, f64::tanh),
            worst(86.0, f32::sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            worst(86.0, f32::exp, f64::exp),
        ];
        assert!(found[0] <= 4.0 && found[1] <= 4.0 && found[2] <= 2.0, "{found:?}");
    }

    /// Against the numbers nearest to the right ones, from 60 decimal digits.
    #[test]
    fn double_precision_is_within_its_bounds() {
        for (x, tanh, sigmoid, exp) in RIGHT {
            let pairs = [(f64::tanh(x), tanh, 3), (f64::sigmoid(x), sigmoid, 3), (f64::exp(x), exp, 2)];
            for (found, right, allowed) in pairs {
                let ulps = found.to_bits().abs_diff(f64::to_bits(right));
                assert!(ulps <= allowed, "{x}: {found:e} is {ulps} from {right:e}");
            }
        }
    }

    #[test]
    fn what_is_special_stays_so() {
        assert!(
            f32::tanh(f32::NAN).is_nan() && f64::sigmoid(f64::NAN).is_nan() && f64::exp(f64::NAN).is_nan()
        );
        assert_eq!(
            [f32::tanh(f32::INFINITY), f32::tanh(-1e30), f32::sigmoid(f32::INFINITY)],
            [1.0, -1.0, 1.0]
        );
        assert_eq!((f64::tanh(-0.0).to_bits(), f64::tanh(1e-310)), ((-0.0f64).to_bits(), 1e-310));
        assert!(f64::sigmoid(f64::NEG_INFINITY) < 1e-300 && f32::exp(-1e9) < 1e-37);
        assert_eq!((f64::exp(0.0), f64::sigmoid(0.0), f32::tanh(0.0)), (1.0, 0.5, 0.0));
    }

    #[test]
    fn vectors_and_single_numbers_agree_bit_for_bit() {
        let numbers: Vec<f32> = (0..1003).map(|i| (i as f32 - 500.0) / 37.0).collect();
        let mut all = numbers.clone();
        each(&mut all, f32::tanh);
        assert!(all.iter().zip(&numbers).all(|(&found, &x)| found.to_bits() == f32::tanh(x).to_bits()));
    }

    /// x, tanh x, σ(x), e^x.
    #[rustfmt::skip]
    #[allow(clippy::unreadable_literal, clippy::excessive_precision)] // printed to come back the same
    const RIGHT: [(f64, f64, f64, f64); 57] = [
        (0.1, 0.09966799462495582, 0.52497918747894, 1.1051709180756477),
        (-0.4, -0.3799489622552249, 0.401312339887548, 0.6703200460356393),
        (0.9, 0.7162978701990245, 0.710949502625004, 2.45960311115695),
        (-1.6, -0.9216685544064713, 0.16798161486607552, 0.20189651799465538),
        (2.5, 0.9866142981514303, 0.9241418199787564, 12.182493960703473),
        (-3.6, -0.9985079423323266, 0.026596993576865853, 0.02732372244729256),
        (4.9, 0.9998891029505544, 0.992608458655718, 134.28977968493552),
        (-6.4, -0.9999944784700996, 0.0016588010801744213, 0.001661557273173934),
        (8.1, 0.9999998157280003, 0.9996965529699711, 3294.4680752838403),
        (-10.0, -0.9999999958776927, 4.5397868702434395e-05, 4.5399929762484854e-05),
        (12.100000000000001, 0.9999999999381837, 0.9999944405176664, 179871.86225375134),
        (-14.4, -0.9999999999993786, 5.57390058585609e-07, 5.573903692694596e-07),
        (16.900000000000002, 0.9999999999999958, 0.9999999542466144, 21856305.08232571),
        (-19.6, -1.0, 3.07487987013172e-09, 3.074879879586606e-09),
        (0.005378926290094979, 0.005378874414809693, 0.5013447283302903, 1.005393418686972),
        (-0.2069096772183634, -0.20400666766561637, 0.4484563385663484, 0.8130930875003733),
        (-0.538521080884219, -0.49186766384069885, 0.36853168355910154, 0.5836107275123975),
        (-0.009344711305162989, -0.009344439309961414, 0.4976638391738547, 0.9906988148243071),
        (1.1002588608568356e-07, 1.100258860856831e-07, 0.5000000275064715, 1.0000001100258922),
        (0.9765583827857042, 0.751572191739935, 0.7264247907544872, 2.655301965254375),
        (-0.0010060044573452446, -0.0010060041179714657, 0.49974849890687456, 0.9989945013954946),
        (-1.3202328790731691e-08, -1.3202328790731691e-08, 0.4999999966994178, 0.9999999867976713),
        (-5.688394472830492e-05, -5.688394466695022e-05, 0.49998577901382174, 0.9999431176731326),
        (2.6938748804411112, 0.9908971197974622, 0.9366642456998787, 14.788870142154195),
        (-2.940077332067449e-07, -2.9400773320673645e-07, 0.4999999264980667, 0.99999970599231),
        (1.8908638077410773e-07, 1.8908638077410548e-07, 0.5000000472715952, 1.0000001890863988),
        (-1.4643097006330874e-07, -1.4643097006330769e-07, 0.4999999633922575, 0.9999998535690406),
        (-8.820700274921496, -0.999999956401949, 0.0001476231361711051, 0.0001476449319790036),
        (-8.452763518323404e-07, -8.452763518321391e-07, 0.49999978868091205, 0.9999991547240055),
        (-6.810348276514241, -0.9999975698330216, 0.0011010951777454064, 0.0011023089247868749),
        (1.0620658436329997, 0.7864532417758455, 0.7430851327339689, 2.8923399437390938),
        (-7.684092481704428e-06, -7.684092481553192e-06, 0.4999980789768796, 0.9999923159370409),
        (-0.0009138100153539073, -0.000913809760995357, 0.49977154751205893, 0.9990866073818679),
        (-4.691932446669393e-07, -4.691932446669049e-07, 0.4999998827016888, 0.9999995308068654),
        (7.805337262328527, 0.9999996677996248, 0.9995926120910741, 2453.662934490207),
        (5.6086438132777755e-06, 5.608643813218965e-06, 0.5000014021609533, 1.0000056086595417),
        (-6.563594568121518e-05, -6.563594558696027e-05, 0.4999835910135856, 0.9999343662083103),
        (2.6734362859654498e-06, 2.6734362859590805e-06, 0.5000006683590715, 1.0000026734398595),
        (-5.922481694787614e-06, -5.922481694718369e-06, 0.4999985193795763, 0.999994077535843),
        (0.003040929453113117, 0.0030409200797341944, 0.5007602317774404, 1.0030455577693544),
        (4.049547943764363e-08, 4.049547943764361e-08, 0.5000000101238699, 1.0000000404954803),
        (0.3391300600246057, 0.32670052733012117, 0.5839791886495708, 1.4037259019661503),
        (-0.0255306710686279, -0.02552512542165792, 0.4936176789035503, 0.9747924805801659),
        (-0.00026742940210774474, -0.000267429395732363, 0.49993314264987154, 0.9997326063539473),
        (-3.345095736173868e-08, -3.3450957361738664e-08, 0.49999999163726067, 0.9999999665490432),
        (5.405406821456269, 0.9999596406166867, 0.9955278633554567, 222.60676327280245),
        (-0.5927945229362231, -0.5319024811578054, 0.3559939181803112, 0.5527803668785595),
        (0.0011256586234680115, 0.001125658148024819, 0.5002814146261518, 1.001126292414925),
        (-2.338283568136808e-05, -2.3382835677106505e-05, 0.4999941542910799, 0.999976617437695),
        (-0.0001465428831521929, -0.00014654288210319905, 0.4999633642792775, 0.9998534678537316),
        (-0.00547217384395295, -0.005472119223763631, 0.49863195995280424, 0.9945427712262355),
        (-1.2444834489785345e-07, -1.2444834489785281e-07, 0.49999996888791376, 0.9999998755516628),
        (3.5713214340753106, 0.9984199298511259, 0.9726503633194687, 35.56355701104607),
        (1.4733729086447417e-05, 1.473372908538127e-05, 0.5000036834322715, 1.0000147338376284),
        (-300.25, -1.0, 4.009422364622857e-131, 4.009422364622857e-131),
        (250.5, 1.0, 1.0, 6.176859412643206e+108),
        (1e-05, 9.999999999666668e-06, 0.5000025, 1.00001000005),
    ];
}
