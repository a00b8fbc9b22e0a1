//! The ways a gradient can take from one step to the step before, by name.

/// The ways a gradient can take from h_{t+1} to h_t, by name.
///
/// The reverse scan keeps a gradient in classes by the gate whose pre-activation it last passed in this cell (`None`: none
/// since it entered). A piece of class `passed` that enters h_t through gate `gate` (`None`: past all of them) belongs to the
/// path that this table has for the pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    names: Vec<&'static str>,
    of: Vec<Vec<usize>>,
}

impl Paths {
    /// From the names and, for `gates` gates, the path of each pair.
    pub fn new(
        names: &[&'static str],
        gates: usize,
        of: impl Fn(Option<usize>, Option<usize>) -> usize,
    ) -> Self {
        let class = |i: usize| i.checked_sub(1);
        let of = (0..=gates).map(|p| (0..=gates).map(|g| of(class(p), class(g))).collect()).collect();
        Self { names: names.to_vec(), of }
    }

    /// The number of classes: the gates, and none.
    pub(super) fn classes(&self) -> usize {
        self.of.len()
    }

    /// The names.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The path of a piece that last passed gate `passed` and enters h_t through `gate`.
    pub fn of(&self, passed: Option<usize>, gate: Option<usize>) -> usize {
        self.of[passed.map_or(0, |p| 1 + p)][gate.map_or(0, |g| 1 + g)]
    }
}
