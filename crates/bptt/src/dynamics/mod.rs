//! How strongly a network's steps stretch and shrink a gradient from step to step: spectra of the recurrent weights, of the
//! Jacobians along a real trajectory, and of their products.
//!
//! A gradient goes back from step t to step s through ∂s_t/∂s_s = J_t ⋯ J_{s+1}, where J_t = ∂s_t/∂s_{t−1} is the Jacobian
//! of one step. The state s_t is h_t, (h_t, c_t) in an LSTM; N is its size, H or 2·H. The weights' singular values bound this
//! product, often from far above ([`Network::recurrent_spectra`](crate::Network::recurrent_spectra)); along a trajectory it
//! can be measured, over a few lags ([`Network::jacobian_products`](crate::Network::jacobian_products)) or in the long run
//! ([`Network::lyapunov`](crate::Network::lyapunov)).
//!
//! A Jacobian is what the cell's own step back makes of the rows of an identity matrix. It is that of one cell given what
//! it reads: in a stack, each layer has its own (conditional) exponents.

mod exponents;
mod flossing;
mod jacobian;
mod lyapunov;
mod omega;
mod perturbation;
mod qr;
mod spectra;

pub use exponents::Exponents;
pub use flossing::Flossing;
pub(crate) use flossing::flossing;
pub use jacobian::JacobianProduct;
pub(crate) use jacobian::{jacobian, jacobian_products};
pub(crate) use lyapunov::lyapunov;
pub use lyapunov::{Lyapunov, LyapunovOptions, PredictedDecay};
pub use omega::Omega;
pub(crate) use perturbation::memory;
pub use perturbation::{MemoryProfile, Perturbed};
pub(crate) use spectra::recurrent_spectra;
pub use spectra::{
    Eigenvalue, GateSpectrum, Implication, condition_number, eigenvalues, sigma_max, singular_values,
    spectral_radius,
};
