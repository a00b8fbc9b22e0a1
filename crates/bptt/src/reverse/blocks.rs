//! How losses are divided into blocks of rows.

use crate::kernel;

/// Rows (k, b) of one block of losses at most: enough for a product to run at speed, few enough to stay in cache.
const ROWS_OF_A_BLOCK: usize = 72;

/// Rows of a block at least, however few there are altogether. Both are whole tiles of a product.
const ROWS_AT_LEAST: usize = 18;

/// The number of queues of blocks that run at the same time. Each adds up its adjoints in (T, B, G·H) arrays of its own, so
/// this limits the memory, and the number of threads that can be used.
pub(crate) const SIDE_BY_SIDE: usize = 8;

/// How many of `losses` losses make a block.
pub(crate) fn losses_of_a_block(losses: usize, batch: usize) -> usize {
    let rows = (losses * batch / SIDE_BY_SIDE)
        .clamp(ROWS_AT_LEAST, ROWS_OF_A_BLOCK)
        .next_multiple_of(kernel::TILE_ROWS);
    (rows / batch).max(1)
}
