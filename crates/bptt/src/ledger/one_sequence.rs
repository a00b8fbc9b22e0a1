//! The records of a ledger of one sequence, where the norms of all parameters follow from those of the rows.

use super::measured::{GramFactor, Measured, MeasuredParam, SequenceColumn};
use super::operands::{Operands, times_power};
use super::projections::UpdateProjections;
use super::record_layout::RecordLayout;
use super::step_products::StepProducts;
use crate::kernel::Real;
use crate::model::CellParams;
use crate::reverse::floor_log2;

/// Where the numbers of a packed record are: for each side ‖row‖² (f64), the power of two of its norms (i16), and for each
/// parameter ⟨component, U⟩ relative to the power of two of ⟨gradient, U⟩ (f32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedLayout {
    pub(crate) sides: usize,
    pub(crate) slots: usize,
}

impl PackedLayout {
    /// Bytes of a record.
    pub(crate) fn width(self) -> usize {
        self.inner(self.slots)
    }

    fn exponent(self) -> usize {
        self.sides * size_of::<f64>()
    }

    fn inner(self, slot: usize) -> usize {
        self.exponent() + size_of::<i16>() + slot * size_of::<f32>()
    }
}

/// The power of two of an operand from which on a record's exponent takes over half of it, so that no norm in a record leaves
/// f64's range however large or small an operand is: operands reach 2^±1074, adjoints 2^±50 or so.
const FAR: i32 = 400;

/// The part of the operands' powers of two that the exponents of a step's records take over.
pub(super) fn shift_of<T: Real>(products: &StepProducts<T>, slots: usize) -> i32 {
    let far = (0..slots).map(|slot| products.lift(slot).largest).find(|lift| lift.abs() > FAR);
    far.map_or(0, |lift| lift / 2)
}

/// What the packed records of a cell are read with.
#[derive(Clone, Debug)]
pub(crate) struct OneSequence {
    layout: PackedLayout,
    slots: Vec<OfSlot>,
    /// For each step and slot.
    factors: Vec<Factor>,
    /// For each step the part of the operands' powers of two that the records' exponents have in them.
    shifts: Vec<i32>,
    /// The sides of [`Measured::columns`].
    columns: Vec<usize>,
}

/// What a parameter has in common at all steps.
#[derive(Clone, Copy, Debug)]
struct OfSlot {
    /// The side whose rows it is measured from.
    side: usize,
    /// The power of two that its inner products are kept relative to: that of their sum.
    inner: i32,
}

/// What turns the square of a row into the norm of a contribution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    /// ‖operand‖², relative to its power of two.
    pub(super) times: f64,
    /// That power of two, less the step's shift.
    pub(super) lift: i32,
}

impl OneSequence {
    /// For a cell; `None` where norms do not follow from those of whole rows, as with elementwise parameters or norms by gate.
    pub(crate) fn new<T: Real>(
        (operands, params): (&Operands<'_, T>, &CellParams<T>),
        (measured, projections): (&Measured, &UpdateProjections<T>),
    ) -> Option<Self> {
        let side_of = |column: &SequenceColumn| match column {
            SequenceColumn::Rows(side) => Some(*side),
            SequenceColumn::Weighted { .. } | SequenceColumn::Elementwise(_) => None,
        };
        let columns = measured.columns.iter().map(side_of).collect::<Option<Vec<_>>>()?;
        let (steps, batch) = operands.shape();
        if batch != 1 || !measured.is_simple() {
            return None;
        }
        let layout = PackedLayout { sides: measured.sides.len(), slots: measured.params.len() };
        let (mut factors, mut shifts) = (Vec::with_capacity(steps * layout.slots), Vec::with_capacity(steps));
        let mut products = StepProducts::default();
        for t in 0..steps {
            products.find(operands, params, measured, t);
            let shift = shift_of(&products, layout.slots);
            shifts.push(shift);
            for (slot, param) in measured.params.iter().enumerate() {
                let times = match &param.factor {
                    GramFactor::Operands(operands) => operands[0].map_or(0.0, |of| products.operand(of)[0]),
                    GramFactor::Sequences | GramFactor::Sum(_) | GramFactor::Elementwise(_) => 1.0,
                };
                factors.push(Factor { times, lift: products.lift(slot).largest - shift });
            }
        }
        let of_total = |&total: &f64| if total.abs().is_normal() { floor_log2(total.abs()) } else { 0 };
        let slot =
            |(param, total): (&MeasuredParam, &f64)| OfSlot { side: param.side, inner: of_total(total) };
        let slots = measured.params.iter().zip(projections.totals()).map(slot).collect();
        Some(Self { layout, slots, factors, shifts, columns })
    }

    /// Bytes of a record.
    pub(crate) fn width(&self) -> usize {
        self.layout.width()
    }

    /// For each parameter what norms are made with at step `t`.
    pub(super) fn factors(&self, t: usize) -> &[Factor] {
        &self.factors[t * self.layout.slots..][..self.layout.slots]
    }

    /// The part of the operands' powers of two at step `t` that the records' exponents have in them.
    pub(super) fn shift(&self, t: usize) -> i32 {
        self.shifts[t]
    }

    /// The norm of parameter `slot` at step `t` without the record's power of two.
    pub(crate) fn norm(&self, record: &[u8], t: usize, slot: usize) -> f64 {
        let Factor { times, lift } = self.factors(t)[slot];
        times_power((square(record, self.slots[slot].side) * times).sqrt(), lift)
    }

    /// Number `column` of the sequence at step `t`, likewise.
    pub(crate) fn sequence(&self, record: &[u8], t: usize, column: usize) -> f64 {
        times_power(square(record, self.columns[column]).sqrt(), -self.shifts[t])
    }

    /// The power of two of a record's norms.
    pub(crate) fn exponent(&self, record: &[u8]) -> i32 {
        i32::from(i16::from_ne_bytes(bytes(record, self.layout.exponent())))
    }

    /// ⟨component, U⟩ of parameter `slot`, with U divided by its power of two.
    pub(crate) fn inner(&self, record: &[u8], slot: usize) -> f64 {
        let inner = f32::from_ne_bytes(bytes(record, self.layout.inner(slot)));
        times_power(f64::from(inner), self.slots[slot].inner)
    }

    /// Enters the power of two and the squares of the sides' rows; whether the former fits.
    #[inline]
    pub(super) fn enter(&self, record: &mut [u8], exponent: i32, squares: impl Iterator<Item = f64>) -> bool {
        let Ok(exponent) = i16::try_from(exponent) else { return false };
        record[self.layout.exponent()..][..size_of::<i16>()].copy_from_slice(&exponent.to_ne_bytes());
        for (place, square) in record.chunks_exact_mut(size_of::<f64>()).zip(squares) {
            place.copy_from_slice(&square.to_ne_bytes());
        }
        true
    }

    /// Enters ⟨component, U⟩ of parameter `slot`, with U divided by its power of two; whether it fits.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // f32 is enough for shares
    pub(super) fn enter_inner(&self, record: &mut [u8], slot: usize, inner: f64) -> bool {
        let kept = times_power(inner, -self.slots[slot].inner) as f32;
        record[self.layout.inner(slot)..][..size_of::<f32>()].copy_from_slice(&kept.to_ne_bytes());
        kept.is_finite()
    }

    /// The record of step `t` in full.
    pub(super) fn unpack(&self, packed: &[u8], t: usize, layout: RecordLayout, record: &mut [f64]) {
        record[RecordLayout::EXPONENT] = f64::from(self.exponent(packed));
        for slot in 0..self.layout.slots {
            record[RecordLayout::norm(slot)] = self.norm(packed, t, slot);
            record[RecordLayout::inner(slot)] = self.inner(packed, slot);
        }
        for column in 0..if layout.batch > 0 { self.columns.len() } else { 0 } {
            record[layout.sequence(column, 0)] = self.sequence(packed, t, column);
        }
    }
}

/// ‖row‖² of a side.
fn square(record: &[u8], side: usize) -> f64 {
    f64::from_ne_bytes(bytes(record, side * size_of::<f64>()))
}

fn bytes<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record[at..at + N].try_into().unwrap_or([0; N])
}
