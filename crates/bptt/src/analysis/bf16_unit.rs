//! One unit of a cell in bf16, forward and backward, rounded where PyTorch 2.15 and JAX 0.10 round on a CPU.
//!
//! r(·) below is rounding to bf16. An operation of PyTorch or JAX computes in f32 and rounds its result; oneDNN, which computes
//! `nn.LSTM` as a whole, rounds what it stores: h, c, the gates that it keeps for the backward pass, and da.

use crate::kernel::bf16 as r;
use crate::model::cell::CellSpec;

/// A cell in one framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bf16Cell {
    /// `nn.RNN`.
    Rnn { relu: bool },
    /// A scan of `h = act(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)`.
    JaxRnn { relu: bool },
    /// `nn.GRU`.
    Gru,
    /// `nn.LSTM`, by oneDNN.
    Lstm,
    /// `nn.LSTM` with `proj_size`.
    LstmProjected,
}

/// What a unit leaves at a step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unit {
    /// h; with a projection, what is projected.
    pub(super) out: f32,
    pub(super) c: f32,
    /// What the backward step reads: h; r z n q and h_{t-1} − n; i f g o tanh(c) and c_{t-1}.
    saved: [f32; 6],
}

/// What comes back through a unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnitGradient {
    /// With respect to the pre-activations, for the input side.
    pub(super) da: [f32; 4],
    /// The same for the recurrent side.
    pub(super) da_hh: [f32; 4],
    /// To h_{t-1} without a weight.
    pub(super) dh: f32,
    /// To c_{t-1}.
    pub(super) dc: f32,
}

impl Bf16Cell {
    /// The cell of a specification in PyTorch, if its roundings are known.
    pub(super) fn of_pytorch(spec: &CellSpec) -> Option<Self> {
        match spec.name.as_str() {
            "rnn" => Some(Self::Rnn { relu: false }),
            "rnn_relu" => Some(Self::Rnn { relu: true }),
            "gru" => Some(Self::Gru),
            "lstm" => Some(Self::Lstm),
            "lstm_projected" => Some(Self::LstmProjected),
            _ => None,
        }
    }

    /// The same in JAX.
    pub(super) fn of_jax(spec: &CellSpec) -> Option<Self> {
        match spec.name.as_str() {
            "rnn" => Some(Self::JaxRnn { relu: false }),
            "rnn_relu" => Some(Self::JaxRnn { relu: true }),
            _ => None,
        }
    }

    pub(super) fn is_jax(self) -> bool {
        matches!(self, Self::JaxRnn { .. })
    }

    /// Whether pre-activations, dh and dc stay in f32.
    pub(super) fn is_fused(self) -> bool {
        self == Self::Lstm
    }

    /// The pre-activation from x W_ihᵀ, b_ih, h W_hhᵀ and b_hh in f32: the part of the input side and that of the recurrent
    /// side, which the unit adds.
    pub(super) fn sides(self, x: f32, b_ih: f32, h: f32, b_hh: f32) -> (f32, f32) {
        match self {
            Self::Rnn { .. } | Self::Gru | Self::LstmProjected => (r(x + b_ih), r(h + b_hh)),
            Self::JaxRnn { .. } => (r(r(r(r(x) + b_ih) + r(h)) + b_hh), 0.0),
            Self::Lstm => (x + h + r(b_ih + b_hh), 0.0),
        }
    }

    /// The forward step, from the sides of each gate's pre-activation, h_{t-1} and c_{t-1}.
    pub(super) fn forward(self, x: [f32; 4], h: [f32; 4], h_prev: f32, c_prev: f32) -> Unit {
        match self {
            Self::Rnn { relu } | Self::JaxRnn { relu } => {
                let a = r(x[0] + h[0]);
                let out = if relu { a.max(0.0) } else { r(tanh(a)) };
                Unit { out, saved: [out, 0.0, 0.0, 0.0, 0.0, 0.0], ..Unit::default() }
            }
            Self::Gru => {
                let [reset, z] = [0, 1].map(|gate| r(sigmoid(r(x[gate] + h[gate]))));
                let q = h[2];
                let n = r(tanh(r(x[2] + r(q * reset))));
                let difference = r(h_prev - n);
                let out = r(r(difference * z) + n);
                Unit { out, saved: [reset, z, n, q, difference, 0.0], ..Unit::default() }
            }
            Self::LstmProjected => {
                let a: [f32; 4] = std::array::from_fn(|gate| r(x[gate] + h[gate]));
                let [i, f, o] = [a[0], a[1], a[3]].map(|a| r(sigmoid(a)));
                let g = r(tanh(a[2]));
                let c = r(r(f * c_prev) + r(i * g));
                let tanh_c = r(tanh(c));
                Unit { out: r(o * tanh_c), c, saved: [i, f, g, o, tanh_c, c_prev] }
            }
            Self::Lstm => {
                let [i, f, o] = [x[0], x[1], x[3]].map(sigmoid);
                let g = tanh(x[2]);
                let exact_c = f * c_prev + i * g;
                let c = r(exact_c);
                Unit { out: r(o * tanh(exact_c)), c, saved: [r(i), r(f), r(g), r(o), tanh(c), c_prev] }
            }
        }
    }

    /// The backward step, from the gradients with respect to what the unit left.
    pub(super) fn backward(self, unit: &Unit, dh: f32, dc: f32) -> UnitGradient {
        match self {
            Self::Rnn { relu: true } | Self::JaxRnn { relu: true } => {
                same_sides([if unit.out > 0.0 { dh } else { 0.0 }, 0.0, 0.0, 0.0], 0.0)
            }
            Self::Rnn { relu: false } => {
                let h = unit.out;
                same_sides([r(dh * (1.0 - h * h)), 0.0, 0.0, 0.0], 0.0)
            }
            Self::JaxRnn { relu: false } => {
                let h = unit.out;
                let part = r(dh * r(1.0 - h));
                same_sides([r(part + r(part * h)), 0.0, 0.0, 0.0], 0.0)
            }
            Self::Gru => {
                let [reset, z, n, q, difference, _] = unit.saved;
                let through_z = r(dh * z);
                let da_n = r(r(dh - through_z) * (1.0 - n * n));
                let da_r = r(r(da_n * q) * (1.0 - reset) * reset);
                let da_z = r(r(dh * difference) * (1.0 - z) * z);
                UnitGradient {
                    da: [da_r, da_z, da_n, 0.0],
                    da_hh: [da_r, da_z, r(da_n * reset), 0.0],
                    dh: through_z,
                    dc: 0.0,
                }
            }
            Self::LstmProjected => {
                let [i, f, g, o, tanh_c, c_prev] = unit.saved;
                let dc = r(r(r(dh * o) * (1.0 - tanh_c * tanh_c)) + dc);
                let da = [
                    r(r(dc * g) * (1.0 - i) * i),
                    r(r(dc * c_prev) * (1.0 - f) * f),
                    r(r(dc * i) * (1.0 - g * g)),
                    r(r(dh * tanh_c) * (1.0 - o) * o),
                ];
                same_sides(da, r(dc * f))
            }
            Self::Lstm => {
                let [i, f, g, o, tanh_c, c_prev] = unit.saved;
                let dc = dc + (1.0 - tanh_c * tanh_c) * o * dh;
                let da = [
                    r(g * dc * (i - i * i)),
                    r(c_prev * dc * (f - f * f)),
                    r(i * dc * (1.0 - g * g)),
                    r(tanh_c * dh * (o - o * o)),
                ];
                same_sides(da, dc * f)
            }
        }
    }
}

fn same_sides(da: [f32; 4], dc: f32) -> UnitGradient {
    UnitGradient { da, da_hh: da, dh: 0.0, dc }
}

#[allow(clippy::cast_possible_truncation)] // it is rounded
fn tanh(a: f32) -> f32 {
    f64::from(a).tanh() as f32
}

#[allow(clippy::cast_possible_truncation)] // it is rounded
fn sigmoid(a: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(a)).exp())) as f32
}
