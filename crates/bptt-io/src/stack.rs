//! Several modules of a file as the layers of one network.

use bptt::Weights;

use crate::Error;
use crate::module::Module;
use crate::tensors::Tensors;

/// The modules one on top of the other, the first at the bottom: each reads what the one before puts out.
///
/// # Errors
/// If they are not of one kind and width, or one's inputs are not as wide as the outputs of the one before.
pub(crate) fn stack(tensors: &Tensors, modules: Vec<Module>) -> Result<Module, Error> {
    let names: Vec<String> = modules.iter().map(|module| module.outline.title().to_owned()).collect();
    let mut modules = modules.into_iter();
    let mut whole = modules.next().ok_or_else(|| tensors.problem("no module is named"))?;
    for module in modules {
        fit(&whole, &module).map_err(|problem| tensors.problem(problem))?;
        whole.outline.layers += module.outline.layers;
        whole.outline.name = format!("{},{}", whole.outline.name, module.outline.name);
        whole.dtypes.extend(module.dtypes);
        whole.sources.extend(module.sources);
        whole.assumptions.extend(module.assumptions);
        let cells = whole.weights.cells.into_iter().chain(module.weights.cells).collect();
        whole.weights = Weights { cells, ..whole.weights };
    }
    if names.len() > 1 {
        let list = names.join(", ");
        whole
            .assumptions
            .push(format!("{list} follow one another directly, with nothing between them (--module)"));
    }
    Ok(whole)
}

/// Whether `above` can read what `below` puts out, as a layer of the same network.
fn fit(below: &Module, above: &Module) -> Result<(), String> {
    let title = |module: &Module| format!("{} ({})", module.outline.title(), module.description());
    let (lower, upper) = (below.weights.cells[0].sizes(), above.weights.cells[0].sizes());
    let problem = if below.cell != above.cell || below.weights.bidirectional != above.weights.bidirectional {
        "are not of one kind, and one network has one".to_owned()
    } else if upper.inputs != below.width() {
        format!("do not follow one another: {} numbers come out and {} are read", below.width(), upper.inputs)
    } else if (lower.hidden, lower.output) != (upper.hidden, upper.output) {
        "have another number of units, and all layers of one network have the same".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("{} and {} {problem}; read them one by one (--module)", title(below), title(above)))
}
