//! e^x, tanh and σ of many numbers at once, on whatever vector registers the processor has.
//!
//! With n = round(y log₂ e) and r = y − n ln 2, |r| ≤ ln 2 / 2, and a polynomial q,
//!
//! ```text
//! e^r − 1 = r + r² q(r)        e^y − 1 = 2^n (e^r − 1) + (2^n − 1)
//! tanh x = sign(x) (e^{2|x|} − 1) / (e^{2|x|} + 1)                  σ(x) = 1 / (1 + e^{−x})
//! ```
//!
//! q has the coefficients that make the relative error of e^r − 1 the smallest (Remez' exchange): 1.5e-8 with five in
//! f32, 3e-19 with eleven in f64.
//!
//! tanh and σ lie within 4 units in the last place in f32 and within 2 in f64; e^x within 2. That holds for |x| up to 87
//! in f32 and 708 in f64; beyond, e^x is 0 or stays at its largest, and σ stays at its smallest.

// What is not inlined into the function that knows the registers is compiled without them.
#![allow(clippy::inline_always)]

use pulp::Simd;

use super::lanes::{Lanes, Vector};

/// The constants of e^y for one number type.
pub trait Exponential: Lanes {
    const LOG2_E: Self;
    /// Adding this rounds to an integer and leaves it in the lowest bits.
    const ROUND: Self;
    /// ln 2 in two parts; the first one's last bits are zero, so that n times it is exact.
    const LN_2: (Self, Self);
    /// Of q, the highest power first.
    const COEFFICIENTS: &[Self];
    /// e^y is taken for y within ±this.
    const LIMIT: Self;
    const ZERO: Self;
    const ONE: Self;
    const TWO: Self;
    /// From here on both e^y − 1 and e^y + 1 round to the same number.
    const SATURATED: Self;

    /// 2^n for what adding [`Exponential::ROUND`] to n has left.
    fn power(shifted: Self) -> Self;
}

macro_rules! exponential {
    ($float:ident, $bits:ty, $mantissa:literal, $bias:literal, $limit:literal, $ln_2:expr, $coefficients:expr) => {
        impl Exponential for $float {
            const LOG2_E: Self = std::$float::consts::LOG2_E;
            const ROUND: Self = 1.5 * (1_u64 << $mantissa) as $float;
            const LN_2: (Self, Self) = $ln_2;
            const COEFFICIENTS: &[Self] = &$coefficients;
            const LIMIT: Self = $limit;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const TWO: Self = 2.0;
            const SATURATED: Self = 44.0;

            #[inline(always)]
            fn power(shifted: Self) -> Self {
                Self::from_bits((shifted.to_bits() << $mantissa).wrapping_add(($bias as $bits) << $mantissa))
            }
        }
    };
}

exponential!(
    f32,
    u32,
    23,
    127,
    87.0,
    (0.693_359_4, -2.121_944_4e-4),
    [1.394_622_1e-3, 8.366_474e-3, 4.166_628_8e-2, 0.166_665_45, 0.5]
);
exponential!(
    f64,
    u64,
    52,
    1023,
    708.0,
    (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10),
    [
        2.092_426_133_027_16e-9,
        2.510_886_373_628_052e-8,
        2.755_724_351_299_815e-7,
        2.755_724_483_533_776e-6,
        2.480_158_735_941_375e-5,
        1.984_126_988_535_018e-4,
        1.388_888_888_886_761e-3,
        8.333_333_333_322_014e-3,
        4.166_666_666_666_67e-2,
        0.166_666_666_666_666_77,
        0.5
    ]
);

/// (2^n, e^r − 1) for y within ± the limit; NaN stays NaN.
#[inline(always)]
fn parts<T: Exponential, S: Simd>(y: Vector<T, S>) -> (Vector<T, S>, Vector<T, S>) {
    let shifted = y.mul_add(y.and(T::LOG2_E), y.and(T::ROUND));
    let n = shifted - y.and(T::ROUND);
    let r = n.mul_add(-y.and(T::LN_2.0), y);
    let r = n.mul_add(-y.and(T::LN_2.1), r);
    let mut q = y.and(T::COEFFICIENTS[0]);
    for &coefficient in &T::COEFFICIENTS[1..] {
        q = q.mul_add(r, y.and(coefficient));
    }
    (shifted.each(T::power), (r * r).mul_add(q, r))
}

/// e^x.
#[inline(always)]
pub(crate) fn exp<T: Exponential, S: Simd>(x: Vector<T, S>) -> Vector<T, S> {
    // Comparisons that a NaN passes through.
    let limit = x.and(T::LIMIT);
    let y = x.if_greater(limit, limit, x);
    let y = (-limit).if_greater(y, -limit, y);
    let (power, rest) = parts(y);
    (-limit).if_greater(x, x.and(T::ZERO), power.mul_add(rest, power))
}

/// σ(x) = 1 / (1 + e^−x).
#[inline(always)]
pub(crate) fn sigmoid<T: Exponential, S: Simd>(x: Vector<T, S>) -> Vector<T, S> {
    let one = x.and(T::ONE);
    one / (one + exp(-x))
}

/// tanh x.
#[inline(always)]
pub(crate) fn tanh<T: Exponential, S: Simd>(x: Vector<T, S>) -> Vector<T, S> {
    let (two, saturated) = (x.and(T::TWO), x.and(T::SATURATED));
    let y = two * x.abs();
    let (power, rest) = parts(y.if_greater(saturated, saturated, y));
    let minus_one = power.mul_add(rest, power - x.and(T::ONE));
    let size = minus_one / (minus_one + two);
    size.with_sign_of(x)
}

#[cfg(test)]
mod tests {
    use crate::{Real, kernel};

    /// One of the three functions, of one number.
    fn of<T: Real>(function: fn(&mut [T]), x: T) -> T {
        let mut number = [x];
        function(&mut number);
        number[0]
    }

    /// How many units in the last place of the right f32 lie between it and `found`.
    fn ulps(found: f32, right: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation)] // rounding is what is meant
        let nearest = right as f32;
        let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(found) - right).abs() / unit
    }

    fn worst(range: f32, mine: fn(&mut [f32]), right: fn(f64) -> f64) -> f64 {
        let at = |i: i32| range * (i as f32 / 200_000.0).powi(3);
        let numbers: Vec<f32> = (-200_000..=200_000).map(at).collect();
        let mut found = numbers.clone();
        mine(&mut found);
        found.iter().zip(numbers).map(|(&found, x)| ulps(found, right(f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_is_within_its_bounds() {
        let found = [
            worst(20.0, kernel::tanh, f64::tanh),
            worst(86.0, kernel::sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            worst(86.0, kernel::exp, f64::exp),
        ];
        assert!(found[0] <= 4.0 && found[1] <= 4.0 && found[2] <= 2.0, "{found:?}");
    }

    /// Against the numbers nearest to the right ones, from 60 decimal digits.
    #[test]
    fn double_precision_is_within_its_bounds() {
        for (x, tanh, sigmoid, exp) in RIGHT {
            let functions: [fn(&mut [f64]); 3] = [kernel::tanh, kernel::sigmoid, kernel::exp];
            for (function, right) in functions.into_iter().zip([tanh, sigmoid, exp]) {
                let found = of(function, x);
                let ulps = found.to_bits().abs_diff(f64::to_bits(right));
                assert!(ulps <= 2, "{x}: {found:e} is {ulps} from {right:e}");
            }
        }
    }

    #[test]
    fn what_is_special_stays_so() {
        let (tanh, sigmoid, exp) = (kernel::tanh::<f32>, kernel::sigmoid::<f64>, kernel::exp::<f64>);
        assert!(of(tanh, f32::NAN).is_nan() && of(sigmoid, f64::NAN).is_nan() && of(exp, f64::NAN).is_nan());
        assert_eq!([of(tanh, f32::INFINITY), of(tanh, -1e30)], [1.0, -1.0]);
        assert_eq!(of(kernel::sigmoid, f32::INFINITY), 1.0);
        let tanh = kernel::tanh::<f64>;
        assert_eq!((of(tanh, -0.0).to_bits(), of(tanh, 1e-310)), ((-0.0f64).to_bits(), 1e-310));
        assert!(of(sigmoid, f64::NEG_INFINITY) < 1e-300 && of(kernel::exp, -1e9f32) < 1e-37);
        assert_eq!((of(exp, 0.0), of(sigmoid, 0.0), of(tanh, 0.0)), (1.0, 0.5, 0.0));
    }

    #[test]
    fn vectors_and_single_numbers_agree_bit_for_bit() {
        let numbers: Vec<f32> = (0..1003).map(|i| (i as f32 - 500.0) / 37.0).collect();
        let mut all = numbers.clone();
        kernel::tanh(&mut all);
        assert!(all.iter().zip(&numbers).all(|(f, &x)| f.to_bits() == of(kernel::tanh, x).to_bits()));
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
