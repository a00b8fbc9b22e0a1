//! `bptt export`: writes a model with PyTorch's tensor names.

use bptt_io::{Module, choose, export, files, find};

use super::print;
use crate::Failure;
use crate::args::ExportArgs;

pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let to = args.to.display();
    if args.to.exists() && !args.force {
        return Err(Failure::Usage(format!("--to: {to} exists already; choose another or give --force")));
    }
    let tensors = args.layout.read(&args.file, &args.ignore)?;
    let cell = args.cell.as_deref();
    let module = args.module.as_deref().map(|name| choose(&tensors, Some(name), cell)).transpose()?;
    export(&tensors, module.as_ref(), cell, &args.to)?;
    let written = match &module {
        Some(module) => vec![module.clone()],
        None => find(&tensors).iter().map(|found| found.read(&tensors, cell)).collect::<Result<_, _>>()?,
    };
    for module in &written {
        let (title, cell) = (module.outline.title(), &module.cell);
        eprintln!("{}", module.reading());
        module.assumptions.iter().for_each(|sentence| eprintln!("assumed: {sentence}"));
        if module.is_in_pytorch() {
            eprintln!("{title} is {}", module.python());
        } else {
            eprintln!(
                "{title}: PyTorch has no cell {cell}; it loads the weights but computes something else"
            );
        }
    }
    eprintln!("wrote {to}");
    let into = module.as_ref().map_or("model".into(), Module::python);
    let file = format!("{to:?}", to = args.to.to_string_lossy());
    let line = if files::ending(&args.to).is_some_and(|ending| ending == "npz") {
        format!(
            "import numpy, torch; {into}.load_state_dict({{k: torch.from_numpy(v) for k, v in \
             numpy.load({file}).items()}}, strict=True)"
        )
    } else {
        format!(
            "import torch; from safetensors.torch import load_file; {into}.load_state_dict(load_file({file}), strict=True)"
        )
    };
    print(&format!("{line}\n"))
}
