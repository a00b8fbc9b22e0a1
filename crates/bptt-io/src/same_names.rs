//! Sources that have PyTorch's names and arrangement, but not every name or not once.

use std::collections::BTreeMap;

use crate::conventions::Convention;
use crate::layout::Layout;
use crate::rearrange::Rearranged;
use crate::tensor::Tensor;

type Named = BTreeMap<String, Tensor>;

/// Leaves one of Paddle's two names, and gives candle's backward modules forward names if candle is asked for. Returns the
/// modules by their prefixes.
pub(crate) fn resolve(tensors: &mut Named, layout: &Layout) -> BTreeMap<String, Rearranged> {
    let of = |convention, assumes| {
        let (arrangement, known_by) = Default::default();
        Rearranged { convention, cell: Ok(None), arrangement, assumes, known_by }
    };
    let mut found = BTreeMap::new();
    for prefix in drop_doubles(tensors) {
        found.insert(prefix, of(Convention::Paddle, ""));
    }
    if layout.asks_for(Convention::Candle) {
        for prefix in rename_lone_reverse(tensors) {
            found.insert(
                prefix,
                of(
                    Convention::Candle,
                    "has the names of a backward direction and reads forward, as candle's Direction::Backward does",
                ),
            );
        }
    }
    found
}

/// paddle 3.3.1, nn/layer/rnn.py, `RNNBase`: `state_dict` has each parameter as `weight_ih_l0` and as `0.cell.weight_ih`, of two directions
/// as `0.cell_fw.weight_ih` and `0.cell_bw.weight_ih`. Removes the second where it has the same numbers; the prefixes.
fn drop_doubles(tensors: &mut Named) -> Vec<String> {
    let twice = |name: &String| {
        let (path, parameter) = name.rsplit_once('.')?;
        let (path, cell) = path.rsplit_once('.')?;
        let direction = match cell {
            "cell" | "cell_fw" => "",
            "cell_bw" => "_reverse",
            _ => return None,
        };
        let (prefix, layer) =
            path.rsplit_once('.').map_or(("", path), |(_, layer)| (&path[..path.len() - layer.len()], layer));
        let layer: usize = layer.parse().ok()?;
        let first = tensors.get(&format!("{prefix}{parameter}_l{layer}{direction}"))?;
        let second = &tensors[name];
        let is_same =
            (first.dtype, &first.shape, &first.bytes) == (second.dtype, &second.shape, &second.bytes);
        is_same.then(|| (name.clone(), prefix.to_owned()))
    };
    let found: Vec<(String, String)> = tensors.keys().filter_map(twice).collect();
    let mut prefixes: Vec<String> = found
        .into_iter()
        .map(|(name, prefix)| {
            tensors.remove(&name);
            prefix
        })
        .collect();
    prefixes.dedup();
    prefixes
}

/// candle-nn 0.9.0 to 0.11.1, src/rnn.rs: `Direction::Backward` adds `_reverse` to the names in `LSTM::new` and changes nothing else,
/// `RNN::seq_init` reads forward. The prefixes of modules that have no other direction.
fn rename_lone_reverse(tensors: &mut Named) -> Vec<String> {
    let ends = |name: &String| name.strip_suffix("weight_hh_l0_reverse").map(String::from);
    let prefixes: Vec<String> = tensors
        .keys()
        .filter_map(ends)
        .filter(|prefix| !tensors.contains_key(&format!("{prefix}weight_hh_l0")))
        .collect();
    for prefix in &prefixes {
        let own: Vec<String> = tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        for name in own {
            let Some(forward) = name.strip_suffix("_reverse") else { continue };
            if let Some(tensor) = tensors.remove(&name) {
                tensors.insert(forward.into(), Tensor { name: forward.into(), ..tensor });
            }
        }
    }
    prefixes
}
