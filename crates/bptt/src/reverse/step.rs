//! One step backward through a cell: its stages, and then to the step before.

use std::ops::Range;

use super::rows::{Rows, sum_of_classes};
use crate::array::View;
use crate::kernel::columns::columns;
use crate::kernel::lanes::Vector;
use crate::kernel::{self, Format, Packed, Real, Start, on_registers};
use crate::model::{
    Backward, BackwardProduct, Cell, CellParams, CellSpec, MAX_ADJOINTS, MAX_SAVED, Network, Operand,
    ParamKind, Stage, StepCache,
};

/// One cell of a network with what its backward step multiplies.
pub(crate) struct CellContext<'a, T: Real> {
    pub(crate) cell: &'a dyn Cell<T>,
    pub(crate) params: &'a CellParams<T>,
    products: &'a [BackwardProduct],
    packed: &'a [Packed<T>],
    /// What leads to previous states: products with their matrices and what they are added to, states that nothing comes to,
    /// (saved array, state) of what is left in saved arrays, and (parameter, block, state) of elementwise parameters.
    to_previous: Vec<(&'a BackwardProduct, &'a Packed<T>, Start<'static, T>)>,
    empty_states: Vec<usize>,
    passing: Vec<(usize, usize)>,
    elementwise: Vec<(usize, usize, usize)>,
}

/// The adjoints of some rows, (R, width) each.
pub(crate) type Adjoints<'a, T> = [View<'a, T>; MAX_ADJOINTS];

impl<'a, T: Real> CellContext<'a, T> {
    /// Of cell `index`.
    pub(crate) fn new(network: &'a Network<T>, index: usize) -> Self {
        let params = &network.weights().cells[index];
        let (spec, products) = (params.spec(), network.packed().products(index));
        let packed = network.packed().back(index, params);
        let mut begun: Vec<bool> = spec.states.iter().map(|state| state.passes).collect();
        let mut to_previous = Vec::new();
        for (product, packed) in products.iter().zip(packed) {
            if let Operand::Prev(state) = product.group.operand {
                let start = if begun[state] { Start::Out } else { Start::Zero };
                begun[state] = true;
                to_previous.push((product, packed, start));
            }
        }
        let passing = spec.saved.iter().enumerate().filter_map(|(i, of)| Some((i, of.passes_to?)));
        Self {
            cell: network.cell(),
            params,
            products,
            packed,
            to_previous,
            empty_states: (0..begun.len()).filter(|&state| !begun[state]).collect(),
            passing: passing.collect(),
            elementwise: elementwise_to_previous(params.spec()),
        }
    }

    pub(crate) fn spec(&self) -> &'a CellSpec {
        self.params.spec()
    }

    /// The width of each adjoint.
    pub(crate) fn adjoint_widths(&self) -> impl Iterator<Item = usize> + use<'a, T> {
        let sizes = self.params.sizes();
        self.spec().adjoints.iter().map(|adjoint| sizes.of(adjoint.width))
    }

    /// The width of each saved array's gradient: 0 for those that no parameter leads to.
    pub(crate) fn saved_widths(&self) -> impl Iterator<Item = usize> + use<'a, T> {
        let (spec, sizes) = (self.spec(), self.params.sizes());
        let leads_here = |i: usize| spec.block_to_saved(i).is_some();
        spec.saved.iter().enumerate().map(move |(i, of)| if leads_here(i) { sizes.of(of.width) } else { 0 })
    }

    /// The stages of one step, for the rows `live` of all, each divided into `classes`. Rows of padding get adjoints of
    /// zero; `format` is what adjoints are rounded to.
    pub(crate) fn backward(
        &self,
        cache: &StepCache<'_, T>,
        rows: &mut Rows<T>,
        (live, classes): (Range<usize>, usize),
        padding: &[usize],
        format: Option<Format>,
        (adjoints, saved): (&mut [&mut [T]; MAX_ADJOINTS], &mut [&mut [T]; MAX_SAVED]),
    ) {
        let (spec, sizes) = (self.spec(), self.params.sizes());
        let mut product = 0;
        for stage in &spec.backward {
            match *stage {
                Stage::Local(stage) => {
                    let backward = Backward {
                        states: rows.range_mut(live.clone()),
                        adjoints: adjoints.each_mut().map(|adjoint| &mut **adjoint),
                        saved: saved.each_mut().map(|saved| &mut **saved),
                    };
                    self.cell.vjp(stage, self.params, cache, backward);
                    if format.is_none() && padding.is_empty() {
                        continue;
                    }
                    for adjoint in adjoints.iter_mut().filter(|adjoint| !adjoint.is_empty()) {
                        if let Some(format) = format {
                            format.round(adjoint);
                        }
                        let width = adjoint.len() / live.len();
                        for r in padding.iter().map(|r| r - live.start) {
                            adjoint[r * width..(r + 1) * width].fill(T::zero());
                        }
                    }
                }
                Stage::Through { param, block } => {
                    let of = &spec.params[param].blocks[block];
                    let adjoint = &*adjoints[of.adjoint];
                    let width = adjoint.len() / live.len();
                    let d = View::new(live.len(), width, adjoint).columns(spec.columns(of, sizes));
                    match (of.operand, spec.params[param].kind) {
                        (Operand::Saved(to), ParamKind::Matrix) => {
                            let packed = &self.packed[product];
                            T::multiply(saved[to], packed.cols(), Start::Zero, d, packed);
                            product += 1;
                        }
                        (Operand::State(state), ParamKind::Elementwise) => {
                            self.through_elementwise(rows, (param, block), state, d, live.clone(), classes);
                        }
                        (operand, kind) => unreachable!("no gradient through {kind:?} to {operand:?}"),
                    }
                }
            }
        }
    }

    /// d(state) ← d(state) + d ∘ w for a block of an elementwise parameter; apart by gates, what comes through gate g enters
    /// the rows of class 1 + g.
    fn through_elementwise(
        &self,
        rows: &mut Rows<T>,
        (param, block): (usize, usize),
        state: usize,
        d: View<'_, T>,
        live: Range<usize>,
        classes: usize,
    ) {
        let w = self.elementwise(param, block);
        if classes == 1 {
            add_products(rows.range_mut(live)[state], d, w);
            return;
        }
        let of_classes = (classes, rows.batch());
        let (sum, exponents) = sum_of_classes(d, &rows.exponents[live], of_classes, |_, _| true);
        let through = products(View::new(exponents.len(), w.len(), &sum), w);
        enter(rows, classes, state, block_gates(self.spec(), param, block).start, &through, &exponents);
    }

    /// The numbers of a block of an elementwise parameter.
    fn elementwise(&self, param: usize, block: usize) -> &'a [T] {
        &self.params.tensors()[param].data()[self.spec().rows(param, block, self.params.sizes())]
    }

    /// After the stages, to the step before: what passes, and what goes through parameters whose operands are previous
    /// states.
    pub(crate) fn propagate(
        &self,
        rows: &mut Rows<T>,
        live: Range<usize>,
        adjoints: &Adjoints<'_, T>,
        saved: &[&[T]; MAX_SAVED],
    ) {
        let states = rows.range_mut(live.clone());
        for (product, packed, start) in &self.to_previous {
            let d = adjoints[product.group.adjoint].columns(product.group.columns.clone());
            if let Operand::Prev(state) = product.group.operand {
                T::multiply(states[state], packed.cols(), *start, d, packed);
            }
        }
        for &state in &self.empty_states {
            states[state].fill(T::zero());
        }
        for &(saved_number, state) in &self.passing {
            kernel::add_scaled(states[state], T::one(), saved[saved_number]);
        }
        for &(param, block, state) in &self.elementwise {
            let (spec, sizes) = (self.spec(), self.params.sizes());
            let of = &spec.params[param].blocks[block];
            let d = adjoints[of.adjoint].columns(spec.columns(of, sizes));
            self.through_elementwise(rows, (param, block), state, d, live.clone(), 1);
        }
    }

    /// The same with rows in classes by the gate that they last passed: what comes through gate g enters the rows of class
    /// 1 + g. States that do not pass are zeros.
    pub(crate) fn propagate_by_gate(
        &self,
        rows: &mut Rows<T>,
        classes: usize,
        adjoints: &Adjoints<'_, T>,
        saved: &[&[T]; MAX_SAVED],
    ) {
        let (spec, sizes, batch) = (self.spec(), self.params.sizes(), rows.batch());
        let live = adjoints[0].rows();
        let before = rows.exponents[..live].to_vec();
        let all = |rows: View<'_, T>| sum_of_classes(rows, &before, (classes, batch), |_, _| true);
        let mut enter = |state: usize, gate: usize, through: &[T], exponents: &[i32]| {
            enter(rows, classes, state, gate, through, exponents);
        };
        for product in self.products {
            let Operand::Prev(state) = product.group.operand else { continue };
            let weights = &self.params.tensors()[product.param];
            let (sum, exponents) = all(adjoints[product.group.adjoint]);
            let sum = View::new(exponents.len(), adjoints[product.group.adjoint].cols(), &sum);
            let mut through = vec![T::zero(); sum.rows() * weights.cols()];
            for block in product.group.blocks.clone() {
                let (rows, gates) =
                    (spec.rows(product.param, block, sizes), block_gates(spec, product.param, block));
                for (i, gate) in gates.enumerate() {
                    let first = rows.start + i * sizes.hidden;
                    let of_gate = sum.columns(gate * sizes.hidden..(gate + 1) * sizes.hidden);
                    let weights = weights.view().some_rows(first..first + sizes.hidden);
                    kernel::product(&mut through, false, of_gate, weights);
                    enter(state, gate, &through, &exponents);
                }
            }
        }
        for (i, (saved, of)) in saved.iter().zip(&spec.saved).enumerate() {
            if let (Some(state), Some(gate)) = (of.passes_to, self.gate_of_saved(i)) {
                let (sum, exponents) = all(View::new(live, saved.len() / live, saved));
                enter(state, gate, &sum, &exponents);
            }
        }
        for &(param, block, state) in &self.elementwise {
            let of = &spec.params[param].blocks[block];
            let d = adjoints[of.adjoint].columns(spec.columns(of, sizes));
            let w = self.elementwise(param, block);
            let (sum, exponents) = all(d);
            let through = products(View::new(exponents.len(), w.len(), &sum), w);
            enter(state, block_gates(spec, param, block).start, &through, &exponents);
        }
    }

    /// The gate through which a gradient comes to saved array `saved`.
    pub(crate) fn gate_of_saved(&self, saved: usize) -> Option<usize> {
        self.spec().block_to_saved(saved)?.gates.as_ref().map(|gates| gates.start)
    }

    /// The products that lead to h of the step before.
    pub(crate) fn products_to_output(&self) -> impl Iterator<Item = &'a BackwardProduct> {
        self.products.iter().filter(|product| product.group.operand == Operand::Prev(0))
    }
}

fn elementwise_to_previous(spec: &CellSpec) -> Vec<(usize, usize, usize)> {
    let mut found = Vec::new();
    for (index, param) in spec.params.iter().enumerate().filter(|(_, of)| of.kind == ParamKind::Elementwise) {
        for (block, of) in param.blocks.iter().enumerate() {
            if let Operand::Prev(state) = of.operand {
                found.push((index, block, state));
            }
        }
    }
    found
}

/// Adds the gradients `through` with these exponents, one for each loss and sequence, that came to a state through gate `gate`
/// to the rows of class 1 + gate.
fn enter<T: Real>(
    rows: &mut Rows<T>,
    classes: usize,
    state: usize,
    gate: usize,
    through: &[T],
    exponents: &[i32],
) {
    let (width, batch) = (through.len() / exponents.len(), rows.batch());
    for (r, through) in through.chunks_exact(width).enumerate() {
        let row = (r / batch * classes + 1 + gate) * batch + r % batch;
        rows.add_to(state, row, through, exponents[r]);
    }
}

/// Every row of d ∘ w.
fn products<T: Real>(d: View<'_, T>, w: &[T]) -> Vec<T> {
    let mut products = vec![T::zero(); d.rows() * w.len()];
    add_products(&mut products, d, w);
    products
}

fn block_gates(spec: &CellSpec, param: usize, block: usize) -> Range<usize> {
    spec.params[param].blocks[block].gates.clone().unwrap_or(0..0)
}

on_registers! {
    /// Row r of out ← itself + row r of a ∘ w.
    fn add_products<'a, T: Real>(simd, out: &'a mut [T], a: View<'a, T>, w: &'a [T]) -> () {
        for (r, out) in out.chunks_exact_mut(w.len()).enumerate() {
            let a = a.row(r);
            columns::<T, S>(w.len(), #[inline(always)] |at| {
                let sum = Vector::load(simd, a, at).mul_add(Vector::load(simd, w, at), Vector::load(simd, out, at));
                sum.store(out, at);
            });
        }
    }
}
