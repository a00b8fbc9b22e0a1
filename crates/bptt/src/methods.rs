//! Everything that can be asked of a network, in the order in which data flows.

use crate::dynamics::{GateSpectrum, JacobianProduct, Lyapunov, LyapunovOptions};
use crate::{
    CellId, Component, Error, Flossing, ForwardCache, FrameworkSums, GateSaturation, Gradient,
    GradientOptions, Inputs, ItemizeOptions, LagParts, Ledger, Losses, Matrix, MemoryProfile, Network,
    Objective, PathSplit, Perturbed, PrecisionAudit, Real, ScanOptions, Select, Sequence, SmallestWindow,
    State, TruncationCurve,
};
use crate::{analysis, dynamics, forward, gradient, ledger};

impl<T: Real> Network<T> {
    /// Runs the network over `inputs` from `initial`, keeping what the backward pass needs.
    ///
    /// # Errors
    /// If the inputs or the initial state do not fit the network.
    pub fn scan(&self, inputs: Inputs<T>, initial: &State<T>) -> Result<ForwardCache<T>, Error> {
        forward::scan_with(self, inputs, initial, ScanOptions::default())
    }

    /// The same for sequences of several lengths, with episodes, detached states or dropout.
    ///
    /// # Errors
    /// If the inputs, the initial state or one of the options do not fit the network or each other.
    pub fn scan_with(
        &self,
        inputs: Inputs<T>,
        initial: &State<T>,
        options: ScanOptions<T>,
    ) -> Result<ForwardCache<T>, Error> {
        forward::scan_with(self, inputs, initial, options)
    }

    /// The outputs y = W_hy h + b_y of every step, (T, B, V).
    ///
    /// # Errors
    /// If the network has no readout.
    pub fn outputs(&self, cache: &ForwardCache<T>) -> Result<Sequence<T>, Error> {
        forward::outputs(self, cache)
    }

    /// The losses of a forward scan under `objective`, and their seeds. Padding and burn-in steps have none.
    ///
    /// # Errors
    /// If the network has no readout, a shape does not fit or a target lies outside the output alphabet.
    pub fn losses(&self, cache: &ForwardCache<T>, objective: &Objective<T>) -> Result<Losses<T>, Error> {
        forward::losses(self, cache, objective)
    }

    /// The ordinary gradient of the reduced loss: backpropagation through time with one row.
    ///
    /// # Errors
    /// If `losses` does not belong to `cache`.
    pub fn gradient(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        options: GradientOptions,
    ) -> Result<Gradient<T>, Error> {
        gradient::gradient(self, cache, losses, options)
    }

    /// The gradient of each group of losses; `group_of[t]` is the group of step t's loss, `None` leaves it out. The
    /// groups come back in ascending order of their numbers, without those that no loss belongs to.
    ///
    /// # Errors
    /// If `losses` does not belong to `cache`, or `group_of` is not one entry a step.
    pub fn group_gradients(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        group_of: &[Option<usize>],
        options: GradientOptions,
    ) -> Result<Vec<Gradient<T>>, Error> {
        gradient::group_gradients(self, cache, losses, group_of, options)
    }

    /// The selected components, ordered by loss, step and cell. Masked losses have none, and there is none where no path
    /// leads from the step through the cell to the loss. Where a state was forgotten or detached between them, they are
    /// zero.
    ///
    /// # Errors
    /// If `losses` does not belong to `cache` or the selection lies outside it (k or t ≥ T, t > k in a network that
    /// reads forward only, or a masked loss).
    pub fn components(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        select: Select,
    ) -> Result<Vec<Component<T>>, Error> {
        gradient::components(self, cache, losses, select)
    }

    /// Forms what every step contributed to loss `k` and hands over one component after another, in the order of the reverse
    /// scan, so that no two of them are in memory together. [`Component::initial`] is `None`.
    ///
    /// # Errors
    /// If `losses` does not belong to `cache`, or there is no loss at step `k`.
    pub fn visit_components(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        k: usize,
        visit: impl FnMut(Component<T>),
    ) -> Result<(), Error> {
        gradient::visit_components(self, cache, losses, k, visit)
    }

    /// Decomposes the gradient of every single loss L_k into the contribution of every step that a path leads from:
    /// t ≤ k, and in a bidirectional network the later ones too.
    ///
    /// One reverse scan with a row for each loss, in blocks that run on the threads of the caller's rayon pool; the
    /// result does not depend on their number. Working memory is O(T·B·(G·H + I)); the ledger has T²/2 numbers for
    /// each norm and each share (W_ih, W_hh, b, x), and no matrix is formed for any (k, t). With a
    /// [tolerance](ItemizeOptions::tolerance) time and numbers are those of the components that are itemized, and of one
    /// row more for the rest.
    ///
    /// # Errors
    /// [`Error::Balance`] if the components do not add up to the ordinary gradient, [`Error::NotFinite`] if a hidden
    /// state or a seed is not finite, [`Error::Exploded`] if the gradient is not, [`Error::Shape`] if `losses` or the
    /// update do not belong here, [`Error::Value`] if the tolerance is not one,
    /// [`Error::Unsupported`] if there is one and the network reads in both directions.
    pub fn itemize(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        options: &ItemizeOptions<'_, T>,
    ) -> Result<Ledger, Error> {
        ledger::itemize(self, cache, losses, options)
    }

    /// The spectrum of every gate's block of every W_hh, in the order of [`crate::Weights::cells`].
    ///
    /// # Errors
    /// If a weight is not finite, or an eigenvalue iteration does not end.
    pub fn recurrent_spectra(&self) -> Result<Vec<GateSpectrum>, Error> {
        dynamics::recurrent_spectra(self)
    }

    /// J_t = ∂s_t/∂s_{t−1} of step `t` of sequence `b` in the cell at `place`, (N, N): row i is the gradient of number i of
    /// the state after the step, h and then c where there is one. N is H, or 2·H for a cell with c.
    ///
    /// # Errors
    /// If there is no such cell, step or sequence, the step is padding, or the cache is not this network's, is not finite or
    /// has episodes.
    pub fn jacobian(
        &self,
        cache: &ForwardCache<T>,
        place: CellId,
        t: usize,
        b: usize,
    ) -> Result<Matrix<f64>, Error> {
        dynamics::jacobian(self, cache, place, t, b)
    }

    /// The singular values of ∂s_t/∂s_s = J_t ⋯ J_{s+1} for these lags t − s, along what each sequence read; s is the step
    /// `from` (in a cell that reads in reverse, t lies before it). For each sequence the lags that it is long enough for,
    /// ascending.
    ///
    /// # Errors
    /// As of [`Network::jacobian`], and if a lag is 0 or no sequence is long enough for the smallest.
    pub fn jacobian_products(
        &self,
        cache: &ForwardCache<T>,
        place: CellId,
        from: usize,
        lags: &[usize],
    ) -> Result<Vec<Vec<JacobianProduct>>, Error> {
        dynamics::jacobian_products(self, cache, place, from, lags)
    }

    /// The Lyapunov exponents of the cell at `place` along what each sequence of `cache` made it read. In a stack they are
    /// conditional exponents: those of this layer's own state, given what the layer below sends it.
    ///
    /// A cell without gates takes about H³ + N²·m multiplications a step and 2·N·m² a decomposition; sequences run on the
    /// threads of the caller's rayon pool. Jacobians are computed in the network's precision, everything after in f64.
    ///
    /// # Errors
    /// If there is no such cell, an option is out of range, or the cache is not this network's, is not finite or has episodes.
    pub fn lyapunov(
        &self,
        cache: &ForwardCache<T>,
        place: CellId,
        options: &LyapunovOptions,
    ) -> Result<Lyapunov, Error> {
        dynamics::lyapunov(self, cache, place, options)
    }

    /// How much of a perturbation at every step is left at every later one, along what each sequence of `cache` read.
    /// `directions` are what is moved, (D, I) or (D, H), in rows of unit length for a change per unit of change; `None` stands
    /// for every unit vector, and the norm is then the Frobenius norm of the Jacobian.
    ///
    /// About T²/2·D·N² products a layer and sequence (beyond 1,024 steps 256·T/2·D·N², at every T/256-th step only), and N³ a
    /// step for the Jacobians; sequences run on the threads of the caller's rayon pool. Powers of two are kept apart, so
    /// nothing underflows.
    ///
    /// # Errors
    /// If a layer reads in both directions, there is no such layer, `directions` do not fit, or the cache is not this
    /// network's, is not finite or has episodes.
    pub fn memory(
        &self,
        cache: &ForwardCache<T>,
        perturbed: Perturbed,
        directions: Option<&Matrix<f64>>,
    ) -> Result<MemoryProfile, Error> {
        dynamics::memory(self, cache, perturbed, directions)
    }

    /// The mean square of the k leading Lyapunov exponents along `cache`, and its gradient. `options.exponents` is k.
    ///
    /// With `options.every` = s, a step of a sequence takes about 3·N²·k + 4.5·N·k²/s multiplications in f64, and k·N numbers
    /// are kept of each for the sequences at hand. Sequences run on the threads of the caller's rayon pool and are added up
    /// in order, so the result does not depend on their number.
    ///
    /// # Errors
    /// If the network is not one forward layer of a vanilla cell (`rnn`, `rnn_relu`, `rnn_identity`), an option is out of
    /// range, the cache is not this network's, is not finite, or has episodes or detached states, or if one of the k
    /// exponents is −∞ because the Jacobians are singular.
    pub fn flossing(&self, cache: &ForwardCache<T>, options: &LyapunovOptions) -> Result<Flossing<T>, Error> {
        dynamics::flossing(self, cache, options)
    }

    /// The gradient in parts by lag: part j has the lags from `first_lags[j]` up to the next part's, the last one all from
    /// there on.
    ///
    /// One reverse scan with a row for each loss, in blocks on the threads of the caller's rayon pool, whatever the number of
    /// parts; the result does not depend on the number of threads. Working memory is eight blocks of O(T·B·(G·H)) and one
    /// set of weights for each part.
    ///
    /// # Errors
    /// [`Error::Balance`] if the parts do not add up to the ordinary gradient, [`Error::NotFinite`] or [`Error::Exploded`]
    /// if something is not finite, [`Error::Shape`] if `losses` does not belong to `cache`, [`Error::Value`] if
    /// `first_lags` does not ascend from 0.
    pub fn lag_parts(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        first_lags: &[usize],
    ) -> Result<LagParts<T>, Error> {
        analysis::lag_parts(self, cache, losses, first_lags)
    }

    /// The bias and the direction of the truncated gradient for each of `windows` (ascending from 1 or more), exact.
    ///
    /// One pass over all losses, as of [`Network::lag_parts`], whatever the number of windows. Of
    /// [`log_spaced_windows`](crate::log_spaced_windows) each is about a third wider than the one before.
    ///
    /// # Errors
    /// As of [`Network::lag_parts`], and if `windows` is empty, does not ascend or has a 0 in it.
    pub fn truncation_curve(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        windows: &[usize],
    ) -> Result<TruncationCurve, Error> {
        analysis::truncation_curve(self, cache, losses, windows)
    }

    /// The smallest window that keeps the relative bias of all parameters together at or below `bias`, and so does every
    /// larger one that was tried: those of [`log_spaced_windows`](crate::log_spaced_windows), and between the last of them
    /// above `bias` and the next one all that it takes to know the answer to the step. A bias need not fall with every step;
    /// a window that was not tried may be above.
    ///
    /// One pass and one or two more to refine it (a further one for every factor of 32 beyond 2,000 steps).
    ///
    /// # Errors
    /// As of [`Network::lag_parts`], and if `bias` is not above 0.
    pub fn smallest_window(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        bias: f64,
    ) -> Result<SmallestWindow, Error> {
        analysis::smallest_window(self, cache, losses, bias)
    }

    /// Decomposes dL_k/dh_t by the way it came, for every cell and step.
    ///
    /// # Errors
    /// If there is no loss at step k, `losses` does not belong to `cache`, or the parts do not add up to the ordinary
    /// gradient ([`Error::Balance`]).
    pub fn path_split(
        &self,
        cache: &ForwardCache<T>,
        losses: &Losses<T>,
        k: usize,
    ) -> Result<Vec<PathSplit<T>>, Error> {
        analysis::path_split(self, cache, losses, k)
    }

    /// How saturated every gate was during a forward scan, and which relu units were dead. Padding does not count.
    pub fn saturation(&self, cache: &ForwardCache<T>) -> Vec<GateSaturation> {
        analysis::saturation(self, cache)
    }
}

impl Network<f64> {
    /// Compares the backward pass of every loss in each [`Format`](crate::Format) with that in f64, for each cell. The
    /// forward scan is done in the format, too: states that differ, as in a chaotic network, are part of what it loses.
    ///
    /// The cost is that of four ledgers; memory is 64 MiB of rows (more if those of one loss are) and 6·T² numbers.
    ///
    /// # Errors
    /// If inputs, state, options or objective do not fit the network, or a state is not finite in f64.
    pub fn precision_audit(
        &self,
        inputs: &Inputs<f64>,
        initial: &State<f64>,
        options: &ScanOptions<f64>,
        objective: &Objective<f64>,
    ) -> Result<Vec<PrecisionAudit>, Error> {
        analysis::precision_audit(self, inputs, initial, options, objective)
    }

    /// The bf16 gradient of every parameter of every cell as each [`Framework`](crate::Framework) would have it on a CPU, and
    /// added up over the steps in each other [`SumOrder`](crate::SumOrder): what a sum of few digits loses of the early steps,
    /// which no single contribution shows.
    ///
    /// Every result within a step is rounded as the framework rounds it for `nn.RNN`, `nn.GRU`, `nn.LSTM` and `nn.LSTM` with
    /// `proj_size` of PyTorch 2.15, and in JAX 0.10 for a scan of `h = act(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)` over at most
    /// 32 sequences, all with the default [`ScanOptions`]. Of everything else states, gates, dh, dc and da are rounded as in
    /// [`Network::precision_audit`], and [`FrameworkSums::rounds_within_steps`](crate::FrameworkSums::rounds_within_steps) is
    /// false. The readout is `nn.Linear` (or `h @ W.T + b`) in bf16. The loss is that of its outputs cast to f32, and computed in
    /// f64: of a cross-entropy computed in f32 one dL/dy in 10,000 is rounded the other way. The readout's gradient, one product
    /// over all steps, is not included. The cost is that of 6·T gradients of one step.
    ///
    /// # Errors
    /// If inputs, state, options or objective do not fit the network, or a state is not finite in f64.
    pub fn precision_sums(
        &self,
        inputs: &Inputs<f64>,
        initial: &State<f64>,
        options: &ScanOptions<f64>,
        objective: &Objective<f64>,
    ) -> Result<Vec<FrameworkSums>, Error> {
        analysis::precision_sums(self, inputs, initial, options, objective)
    }
}
