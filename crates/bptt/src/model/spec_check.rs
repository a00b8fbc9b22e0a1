//! What a cell's specification may not say. The scans and the ledger rely on these rules; a network is only made of cells
//! that keep them.

use std::collections::HashSet;

use super::spec::{
    Block, CellSizes, CellSpec, MAX_ADJOINTS, MAX_ON_ADJOINT, MAX_SAVED, MAX_STATES, Operand, ParamKind,
    ParamSpec, Stage, Width,
};
use crate::Error;

impl CellSpec {
    /// Whether the specification contradicts itself or asks for what the scans do not do.
    ///
    /// # Errors
    /// [`Error::Specification`], which names the first rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            self.check_counts(),
            self.check_names(),
            self.check_params(),
            self.check_input_weights(),
            self.check_stages(),
            self.check_saved(),
            self.check_paths(),
        ];
        match rules.into_iter().find_map(Result::err) {
            Some(problem) => Err(Error::Specification { cell: self.name.clone(), problem }),
            None => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), String> {
        for (what, count, most) in [
            ("states", self.states.len(), MAX_STATES),
            ("adjoints", self.adjoints.len(), MAX_ADJOINTS),
            ("gates", self.gates.len(), usize::MAX),
        ] {
            require(count > 0, || format!("it has no {what}"))?;
            require(count <= most, || format!("it has {count} {what}; expected at most {most}"))?;
        }
        let saved = self.saved.len();
        require(saved <= MAX_SAVED, || format!("it saves {saved} arrays; expected at most {MAX_SAVED}"))?;
        require(self.states[0].width == Width::Output, || {
            "its first state is not its output, P wide".into()
        })?;
        require(self.adjoints[0].width == Width::Gates, || {
            "its first adjoint is not da, the gradient of the gates' pre-activations, G·H wide".into()
        })?;
        let is_vanilla = self.gates.len() == 1 && self.states.len() == 1;
        require(self.vanilla.is_none() || is_vanilla, || {
            "it is vanilla and has more than one gate or state".into()
        })
    }

    fn check_names(&self) -> Result<(), String> {
        let names: [(&str, Vec<&str>); 3] = [
            ("states", self.states.iter().map(|state| state.name).collect()),
            ("gates", self.gate_names()),
            ("parameters", self.params.iter().map(|param| param.name).collect()),
        ];
        for (what, names) in names {
            let mut seen = HashSet::new();
            if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
                return Err(format!("two of its {what} are called {twice}"));
            }
        }
        Ok(())
    }

    fn check_params(&self) -> Result<(), String> {
        let mut on_adjoint: Vec<Vec<&ParamSpec>> = vec![Vec::new(); self.adjoints.len()];
        for param in &self.params {
            let problem = |what: String| format!("{}: {what}", param.name);
            require(!param.blocks.is_empty(), || problem("it has no block".into()))?;
            for block in &param.blocks {
                self.check_block(param.kind, block).map_err(problem)?;
            }
            let adjoint = param.adjoint();
            require(param.blocks.iter().all(|block| self.repeats(adjoint, block.adjoint)), || {
                problem(format!(
                    "its blocks have several adjoints, and {} does not say in which gates it differs from {}",
                    self.adjoints[adjoint].name, self.adjoints[0].name
                ))
            })?;
            // Biases with the same blocks have the same gradient.
            let is_same = |other: &&ParamSpec| {
                param.kind == ParamKind::Bias && other.kind == ParamKind::Bias && other.blocks == param.blocks
            };
            if !on_adjoint[adjoint].iter().any(is_same) {
                on_adjoint[adjoint].push(param);
            }
        }
        for (adjoint, params) in self.adjoints.iter().zip(on_adjoint) {
            require(params.len() <= MAX_ON_ADJOINT, || {
                format!(
                    "{} parameters have the adjoint {}; expected at most {MAX_ON_ADJOINT}",
                    params.len(),
                    adjoint.name
                )
            })?;
        }
        Ok(())
    }

    fn check_block(&self, kind: ParamKind, block: &Block) -> Result<(), String> {
        let adjoint = self.adjoints.get(block.adjoint);
        let adjoint = adjoint.ok_or_else(|| format!("there is no adjoint {}", block.adjoint))?;
        let gates = self.gates.len();
        if let Some(range) = &block.gates {
            require(range.start < range.end && range.end <= gates, || {
                format!("gates {range:?} of {gates} are not possible")
            })?;
            require(adjoint.width == Width::Gates, || {
                format!("it belongs to gates, and its adjoint {} does not", adjoint.name)
            })?;
        }
        let width = match block.operand {
            Operand::X if kind == ParamKind::Elementwise => {
                return Err("an elementwise parameter cannot multiply x".into());
            }
            Operand::X | Operand::One => None,
            Operand::Prev(state) | Operand::State(state) => {
                let state = self.states.get(state).ok_or_else(|| format!("there is no state {state}"))?;
                Some(state.width)
            }
            Operand::Saved(saved) => {
                let saved = self.saved.get(saved).ok_or_else(|| format!("no array {saved} is saved"))?;
                Some(saved.width)
            }
        };
        require((kind == ParamKind::Bias) == (block.operand == Operand::One), || {
            "a bias, and nothing else, has the operand One".into()
        })?;
        if let (ParamKind::Elementwise, Some(width)) = (kind, width) {
            let sizes = CellSizes { inputs: 1, hidden: 1, output: 1, gates };
            require(self.columns(block, &sizes).len() == sizes.of(width), || {
                format!("it is elementwise, and its operand is not as wide as its rows in {:?}", block.gates)
            })?;
        }
        Ok(())
    }

    fn check_input_weights(&self) -> Result<(), String> {
        let reads_x = |param: &&ParamSpec| param.blocks.iter().any(|block| block.operand == Operand::X);
        let mut reading = self.params.iter().filter(reads_x);
        let input = reading.next().ok_or("no parameter multiplies x")?;
        require(reading.next().is_none(), || "several parameters multiply x; expected one matrix".into())?;
        let mut next = 0;
        for block in &input.blocks {
            let gates = block.gates.clone().unwrap_or(0..0);
            let follows = gates.start == next && block.operand == Operand::X;
            require(follows && block.adjoint == input.blocks[0].adjoint, || {
                format!("{}: expected the rows of all gates in order, for x, with one adjoint", input.name)
            })?;
            next = gates.end;
        }
        require(next == self.gates.len(), || format!("{}: expected rows of every gate", input.name))
    }

    fn check_stages(&self) -> Result<(), String> {
        let sizes = CellSizes { inputs: 1, hidden: 1, output: 1, gates: self.gates.len() };
        let mut locals = 0;
        for stage in &self.backward {
            match *stage {
                Stage::Local(number) => {
                    require(number == locals, || {
                        format!("local stage {number} stands where {locals} is expected")
                    })?;
                    locals += 1;
                }
                Stage::Through { param, block } => {
                    let of =
                        self.params.get(param).ok_or_else(|| format!("there is no parameter {param}"))?;
                    let found =
                        of.blocks.get(block).ok_or_else(|| format!("{} has no block {block}", of.name))?;
                    let possible = match of.kind {
                        ParamKind::Matrix => matches!(found.operand, Operand::Saved(_)),
                        ParamKind::Elementwise => matches!(found.operand, Operand::State(_)),
                        ParamKind::Bias => false,
                    };
                    require(possible, || {
                        format!(
                            "a stage goes through {} to {:?}; expected a matrix to a saved array, or an elementwise \
                             parameter to a state after the step",
                            of.name, found.operand
                        )
                    })?;
                    let is_whole =
                        self.groups(param, &sizes).iter().any(|group| group.blocks == (block..block + 1));
                    require(is_whole || of.kind != ParamKind::Matrix, || {
                        format!(
                            "{}: a stage goes through a part of neighboring blocks with one operand",
                            of.name
                        )
                    })?;
                }
            }
        }
        require(locals > 0, || "its backward step has no local stage".into())?;
        require(matches!(self.backward.first(), Some(Stage::Local(_))), || {
            "its backward step begins with a product: no adjoint is there yet".into()
        })
    }

    fn check_saved(&self) -> Result<(), String> {
        for (index, saved) in self.saved.iter().enumerate() {
            let Some(state) = saved.passes_to else { continue };
            let to =
                self.states.get(state).ok_or_else(|| format!("{}: there is no state {state}", saved.name))?;
            require(self.block_to_saved(index).is_some(), || {
                format!("{} passes to {}, and no stage leads a gradient to it", saved.name, to.name)
            })?;
            require(
                saved.width == to.width || (saved.width, to.width) == (Width::Hidden, Width::Output),
                || format!("{} passes to {}, which has another width", saved.name, to.name),
            )?;
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), String> {
        let classes = || std::iter::once(None).chain((0..self.gates.len()).map(Some));
        require(self.paths.classes() == self.gates.len() + 1, || {
            "its paths are for another number of gates".into()
        })?;
        let names = self.paths.names().len();
        let known = classes().all(|passed| classes().all(|gate| self.paths.of(passed, gate) < names));
        require(known, || "its paths have a number without a name".into())
    }
}

fn require(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{AdjointSpec, Role, SavedSpec, StateSpec};
    use crate::{cell_by_name, cells};

    #[test]
    fn every_registered_cell_keeps_the_rules() {
        for name in cells() {
            cell_by_name(name).unwrap().spec().check().unwrap();
        }
    }

    #[test]
    fn every_broken_rule_is_named() {
        type Break = fn(&mut CellSpec);
        let cases: [(&str, Break, &str); 22] = [
            ("lstm", |s| s.states.clear(), "it has no states"),
            (
                "lstm",
                |s| s.states.extend([StateSpec::c(), StateSpec::c()]),
                "it has 4 states; expected at most 3",
            ),
            ("lstm", |s| s.adjoints.clear(), "it has no adjoints"),
            ("lstm", |s| s.gates.clear(), "it has no gates"),
            ("lstm", |s| s.saved = vec![s.saved[0].clone(); 7], "it saves 7 arrays; expected at most 6"),
            ("lstm", |s| s.states.swap(0, 1), "its first state is not its output, P wide"),
            (
                "lstm",
                |s| s.vanilla = Some(s.gates[0].activation),
                "it is vanilla and has more than one gate or state",
            ),
            ("lstm", |s| s.gates[1].name = "i", "two of its gates are called i"),
            ("lstm", |s| s.params[1].name = "weight_ih", "two of its parameters are called weight_ih"),
            ("lstm", |s| s.params[1].blocks.clear(), "weight_hh: it has no block"),
            ("lstm", |s| s.params[1].blocks[0].adjoint = 3, "weight_hh: there is no adjoint 3"),
            (
                "lstm",
                |s| s.params[1].blocks[0].gates = Some(2..5),
                "weight_hh: gates 2..5 of 4 are not possible",
            ),
            ("lstm", |s| s.params[1].blocks[0].operand = Operand::Prev(2), "weight_hh: there is no state 2"),
            (
                "lstm",
                |s| s.params[2].blocks[0].operand = Operand::X,
                "bias_ih: a bias, and nothing else, has the operand One",
            ),
            (
                "lstm",
                |s| s.params[1].blocks[0].operand = Operand::X,
                "several parameters multiply x; expected one matrix",
            ),
            ("lstm", |s| s.params[0].blocks[0].gates = Some(0..3), "weight_ih: expected rows of every gate"),
            (
                "lstm_peephole",
                |s| s.params[4].blocks[0].gates = Some(0..2),
                "it is elementwise, and its operand is not as wide as its rows in Some(0..2)",
            ),
            ("lstm", |s| s.backward.insert(0, Stage::Local(1)), "local stage 1 stands where 0 is expected"),
            (
                "lstm",
                |s| s.backward.push(Stage::Through { param: 1, block: 0 }),
                "a stage goes through weight_hh to Prev(0); expected a matrix to a saved array",
            ),
            (
                "lstm",
                |s| s.saved[0].passes_to = Some(1),
                "tanh c passes to c, and no stage leads a gradient to it",
            ),
            (
                "lstm",
                |s| {
                    // Two adjoints of which neither repeats the other.
                    s.adjoints.push(AdjointSpec { name: "d2", width: Width::Gates, differs: None });
                    let mut second = s.params[1].blocks[0].clone();
                    (s.params[1].blocks[0].gates, second.gates, second.adjoint) = (Some(0..1), Some(1..4), 1);
                    s.params[1].blocks.push(second);
                },
                "weight_hh: its blocks have several adjoints, and d2 does not say in which gates it differs from da",
            ),
            (
                "lstm",
                |s| {
                    for name in ["p1", "p2", "p3", "p4"] {
                        let blocks = [(0..1, Operand::Prev(1), 0)];
                        s.params.push(ParamSpec::elementwise(name, Role::Peephole, &blocks));
                    }
                },
                "7 parameters have the adjoint da; expected at most 6",
            ),
        ];
        for (name, change, expected) in cases {
            let mut spec = CellSpec::clone(cell_by_name(name).unwrap().spec());
            change(&mut spec);
            match spec.check() {
                Err(Error::Specification { cell, problem }) => {
                    assert!(cell == name && problem.contains(expected), "{expected}: {problem}");
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    /// What is not kept would be lost without a word: the gradient of an array that no stage leads to.
    #[test]
    fn a_network_is_not_made_of_a_cell_that_breaks_a_rule() {
        let mut spec = CellSpec::clone(cell_by_name("gru").unwrap().spec());
        let saved = SavedSpec { name: "lost", width: Width::Output, passes_to: Some(0) };
        spec.saved.push(saved);
        let params = crate::CellParams::<f64>::zeros(&std::sync::Arc::new(spec.clone()), 2, 3);
        let error =
            crate::CellParams::new(&std::sync::Arc::new(spec), params.tensors().to_vec()).unwrap_err();
        let expected = "the specification of the cell gru is not possible: lost passes to h, and no stage leads a gradient to it";
        assert_eq!(error.to_string(), expected);
    }
}
