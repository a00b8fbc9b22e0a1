//! `bptt inspect`: the modules in a model file.

use bptt_io::{Block, ModuleReport, Other, Report, Unreadable, inspect};
use bptt_view::table::{Align, number, table};
use serde_json::json;

use super::{print, print_json};
use crate::Failure;
use crate::args::InspectArgs;

pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let tensors = args.layout.read(&args.file, &args.ignore)?;
    let report = inspect(&tensors, args.cell.as_deref())?;
    for Unreadable { name, problem, .. } in &report.unreadable {
        eprintln!("not read: {name}: {problem}");
    }
    if args.json { print_json(&json!(report)) } else { print(&text(&report)) }
}

fn text(report: &Report) -> String {
    let header = [
        ("module", Align::Left),
        ("cell", Align::Left),
        ("layers", Align::Right),
        ("directions", Align::Right),
        ("I", Align::Right),
        ("H", Align::Right),
        ("parameters", Align::Right),
        ("type", Align::Left),
    ];
    let row = |m: &ModuleReport| {
        let numbers = [m.layers, m.directions, m.inputs, m.hidden, m.parameters].map(|n| n.to_string());
        let name = if m.name.is_empty() { "\"\"".into() } else { m.name.clone() };
        [name, m.cell.clone()].into_iter().chain(numbers).chain([m.dtypes.join(", ")]).collect()
    };
    let mut text = if report.modules.is_empty() {
        "no recurrent module\n".into()
    } else {
        table(&header, &report.modules.iter().map(row).collect::<Vec<_>>())
    };
    for module in &report.modules {
        text += &format!("\n{}\n{}", module.name, blocks(module));
        text.extend(module.notes.iter().map(|note| format!("  {note}\n")));
    }
    if !report.others.is_empty() {
        let row = |o: &Other| vec![o.name.clone(), format!("{:?}", o.shape), o.dtype.clone()];
        let header = [("other tensors", Align::Left), ("shape", Align::Left), ("type", Align::Left)];
        text += &format!("\n{}", table(&header, &report.others.iter().map(row).collect::<Vec<_>>()));
    }
    text
}

/// One line per gate of each cell.
fn blocks(module: &ModuleReport) -> String {
    let header = [
        ("layer", Align::Right),
        ("direction", Align::Left),
        ("gate", Align::Left),
        ("σ_max", Align::Right),
        ("spectral radius", Align::Right),
        ("bias mean", Align::Right),
        ("min", Align::Right),
        ("max", Align::Right),
    ];
    let row = |b: &Block| {
        let bias = b.bias.map_or(["–", "–", "–"].map(String::from), |bias| bias.map(number));
        let norms = [b.sigma_max, b.spectral_radius].map(|norm| norm.map_or("–".into(), number));
        let place = [b.layer.to_string(), b.direction.into(), b.gate.into()];
        place.into_iter().chain(norms).chain(bias).collect()
    };
    table(&header, &module.blocks.iter().map(row).collect::<Vec<_>>())
}
