//! Which loss enters which row of a reverse scan.

/// Which row each step's loss enters. Rows are numbered in the order in which the reverse scan opens them, so the open
/// rows are always the first ones.
pub(crate) struct Plan {
    /// The row of loss t; `None` where step t has no loss or none that is asked for.
    row_of: Vec<Option<usize>>,
    /// The group that each row stands for.
    group_of_row: Vec<usize>,
}

impl Plan {
    /// From the group of each step's loss.
    pub(crate) fn new(group_of: impl DoubleEndedIterator<Item = Option<usize>> + ExactSizeIterator) -> Self {
        let mut row_of = vec![None; group_of.len()];
        let mut group_of_row: Vec<usize> = Vec::new();
        for (t, group) in group_of.enumerate().rev() {
            row_of[t] = group.map(|group| {
                // The newest row is the likeliest: a loop over one group, or a row for each loss.
                group_of_row.iter().rposition(|&g| g == group).unwrap_or_else(|| {
                    group_of_row.push(group);
                    group_of_row.len() - 1
                })
            });
        }
        Self { row_of, group_of_row }
    }

    /// A row for each of the losses `ks` (ascending) of `steps` steps; row i stands for the i-th from the end.
    pub(crate) fn apart(steps: usize, ks: &[usize]) -> Self {
        let mut row_of = vec![None; steps];
        for (row, &k) in ks.iter().rev().enumerate() {
            row_of[k] = Some(row);
        }
        Self { row_of, group_of_row: ks.iter().rev().copied().collect() }
    }

    /// The row of loss `t`.
    #[inline]
    pub(crate) fn row(&self, t: usize) -> Option<usize> {
        self.row_of[t]
    }

    /// T, the number of steps.
    #[inline]
    pub(crate) fn steps(&self) -> usize {
        self.row_of.len()
    }

    /// The group (for [`Plan::apart`]: the loss) that each row stands for.
    #[inline]
    pub(crate) fn groups(&self) -> &[usize] {
        &self.group_of_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_open_in_the_order_of_the_reverse_scan() {
        let plan = Plan::new([Some(7), Some(3), None, Some(7), Some(5)].into_iter());
        assert_eq!(plan.groups(), [5, 7, 3]);
        assert_eq!(plan.row_of, [Some(1), Some(2), None, Some(1), Some(0)]);
        let apart = Plan::apart(5, &[1, 3]);
        assert_eq!(apart.groups(), [3, 1]);
        assert_eq!(apart.row_of, [None, Some(1), None, Some(0), None]);
    }
}
