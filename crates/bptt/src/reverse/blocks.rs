//! How losses are divided into blocks of rows.

use crate::kernel;

/// Rows (k, b) of one block of losses at most: enough for a product to run at speed, few enough to stay in cache.
const ROWS_OF_A_BLOCK: usize = 72;

/// Rows of a block at least, however few there are altogether. Both are whole tiles of a product.
const ROWS_AT_LEAST: usize = 18;

/// Blocks of losses that are under way side by side at most: chains that blocks are dealt out to. Each adds up what it sees in
/// (T, B, G·H) arrays of its own, so this boundaries the memory, and the number of threads that can help.
pub(crate) const SIDE_BY_SIDE: usize = 8;

/// How many of `losses` losses make a block.
pub(crate) fn losses_of_a_block(losses: usize, batch: usize) -> usize {
    let rows = (losses * batch / SIDE_BY_SIDE)
        .clamp(ROWS_AT_LEAST, ROWS_OF_A_BLOCK)
        .next_multiple_of(kernel::TILE_ROWS);
    (rows / batch).max(1)
}
