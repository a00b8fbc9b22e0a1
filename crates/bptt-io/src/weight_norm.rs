//! Weights that PyTorch's weight normalization keeps as a length and a direction: W = g · v / ‖v‖.
//!
//! Source: `torch.nn.utils.weight_norm` (`NAME_g`, `NAME_v`) and `torch.nn.utils.parametrizations.weight_norm`
//! (`parametrizations.NAME.original0`, `original1`); the shape of g tells over which axes the norm is taken.

use std::collections::BTreeMap;

use crate::tensor::{Dtype, Tensor};

/// Puts W in the place of g and v of each recurrent weight that is kept so, unless W stands beside them. The result has for
/// each such W a sentence that says so.
pub(crate) fn materialize(tensors: &mut BTreeMap<String, Tensor>) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let pairs: Vec<[String; 3]> = tensors.keys().filter_map(|name| names(name)).collect();
    for [g, v, w] in pairs {
        // With a further parametrization the weight is something else.
        let stacked = w_of_parametrization(&g).is_some_and(|w| {
            let of_it = |name: &&String| w_of_parametrization(name).is_some_and(|of| of == w);
            tensors.keys().filter(of_it).count() > 2
        });
        if stacked || tensors.contains_key(&w) {
            continue;
        }
        let Some(weight) = tensors.get(&g).zip(tensors.get(&v)).and_then(|(g, v)| product(&w, g, v)) else {
            continue;
        };
        said.insert(w.clone(), format!("{w} is weight-normed: it is g v / ‖v‖ of {g} and {v}"));
        tensors.remove(&g);
        tensors.remove(&v);
        tensors.insert(w, weight);
    }
    said
}

/// The names of g, v and W, if `name` is that of a g of a recurrent module's weight.
fn names(name: &str) -> Option<[String; 3]> {
    if let Some(w) = name.strip_suffix("_g") {
        let parameter = w.rsplit('.').next()?;
        return parameter.starts_with("weight_").then(|| [name.into(), format!("{w}_v"), w.into()]);
    }
    let of_parametrization = name.strip_suffix(".original0")?;
    let w = w_of_parametrization(name)?;
    Some([name.into(), format!("{of_parametrization}.original1"), w])
}

/// `lstm.weight_hh_l0` of `lstm.parametrizations.weight_hh_l0.original0` and whatever else is of that parametrization.
fn w_of_parametrization(name: &str) -> Option<String> {
    let (module, rest) = name.split_once("parametrizations.")?;
    let parameter = rest.split('.').next()?;
    parameter.starts_with("weight_").then(|| format!("{module}{parameter}"))
}

/// g · v / ‖v‖ in f64, the norm over the axes on which g has one number: rows, columns or all.
fn product(name: &str, g: &Tensor, v: &Tensor) -> Option<Tensor> {
    let &[rows, cols] = v.shape.as_slice() else { return None };
    let group: Box<dyn Fn(usize) -> usize> = match *g.shape.as_slice() {
        [of_rows, 1] if of_rows == rows => Box::new(move |i| i / cols),
        [1, of_cols] if of_cols == cols => Box::new(move |i| i % cols),
        [] => Box::new(|_| 0),
        _ => return None,
    };
    let (g, numbers) = (g.floats()?, v.floats()?);
    let mut squares = vec![0.0; g.len()];
    numbers.iter().enumerate().for_each(|(i, v)| squares[group(i)] += v * v);
    let weight: Vec<f64> =
        numbers.iter().enumerate().map(|(i, v)| g[group(i)] * v / squares[group(i)].sqrt()).collect();
    Some(Tensor::of_floats(name.into(), Dtype::F64, v.shape.clone(), &weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[(&str, &[usize], &[f64])]) -> BTreeMap<String, Tensor> {
        let tensor = |&(name, shape, numbers): &(&str, &[usize], &[f64])| {
            (name.to_owned(), Tensor::of_floats(name.into(), Dtype::F64, shape.to_vec(), numbers))
        };
        tensors.iter().map(tensor).collect()
    }

    #[test]
    fn both_ways_of_naming_give_the_weight() {
        let v = [3.0, 4.0, 0.0, 2.0];
        let names = [
            ("a.weight_hh_l0_g", "a.weight_hh_l0_v"),
            ("a.parametrizations.weight_hh_l0.original0", "a.parametrizations.weight_hh_l0.original1"),
        ];
        for (g, of) in names {
            let mut tensors = file(&[(g, &[2, 1], &[10.0, 1.0]), (of, &[2, 2], &v)]);
            let said = materialize(&mut tensors);
            assert_eq!(tensors.len(), 1);
            assert_eq!(tensors["a.weight_hh_l0"].floats().unwrap(), [6.0, 8.0, 0.0, 1.0]);
            assert!(said["a.weight_hh_l0"].contains(g));
        }
        // Over columns, and over everything.
        let of = "a.weight_hh_l0_v";
        let mut tensors =
            file(&[("a.weight_hh_l0_g", &[1, 2], &[3.0, 1.0]), (of, &[2, 2], &[3.0, 0.0, 4.0, 2.0])]);
        materialize(&mut tensors);
        assert_eq!(tensors["a.weight_hh_l0"].floats().unwrap(), [1.8, 0.0, 2.4, 1.0]);
        let mut tensors = file(&[("a.weight_hh_l0_g", &[], &[10.0]), (of, &[2, 2], &[3.0, 0.0, 4.0, 0.0])]);
        materialize(&mut tensors);
        assert_eq!(tensors["a.weight_hh_l0"].floats().unwrap(), [6.0, 0.0, 8.0, 0.0]);
    }

    #[test]
    fn what_is_more_than_weight_norm_is_left_alone() {
        let stacked = [
            ("a.parametrizations.weight_hh_l0.original0", &[1, 1][..], &[1.0][..]),
            ("a.parametrizations.weight_hh_l0.original1", &[1, 1], &[1.0]),
            ("a.parametrizations.weight_hh_l0.1.base", &[1, 1], &[1.0]),
        ];
        let mut tensors = file(&stacked);
        assert!(materialize(&mut tensors).is_empty());
        assert_eq!(tensors.len(), 3);
        let beside = [
            ("a.weight_hh_l0_g", &[1, 1][..], &[1.0][..]),
            ("a.weight_hh_l0_v", &[1, 1], &[1.0]),
            ("a.weight_hh_l0", &[1, 1], &[5.0]),
        ];
        let mut tensors = file(&beside);
        assert!(materialize(&mut tensors).is_empty());
        assert_eq!(tensors.len(), 3);
    }
}
