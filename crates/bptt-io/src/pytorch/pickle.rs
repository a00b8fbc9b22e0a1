//! A reader of the pickles in PyTorch's files that can do nothing but read: it knows dictionaries, lists, numbers, texts and the
//! ways in which tensors are put together, and refuses everything else by its name.
//!
//! Source: Python's `pickletools` for the instructions; `torch/serialization.py` and `torch/_utils.py` for what is in the files.

use std::collections::HashMap;
use std::rc::Rc;

use super::values::{
    DATA, DICTS, Heap, SAME, SCRIPTED, TENSORS, Value, damaged, is_known, signed, storage, tensor,
};

/// The value of the pickle at the beginning of `bytes`, the dictionaries, lists and storages it refers to, and what is behind it.
///
/// # Errors
/// What is not understood, in words.
pub(super) fn read(bytes: &[u8]) -> Result<(Value, Heap, &[u8]), String> {
    let mut machine = Machine { rest: bytes, stack: Vec::new(), memo: HashMap::new(), heap: Heap::default() };
    while !machine.step()? {}
    let value = machine.pop()?;
    Ok((value, machine.heap, machine.rest))
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<usize, Value>,
    heap: Heap,
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A little-endian number of `count` bytes, not negative.
    fn number(&mut self, count: usize) -> Result<usize, String> {
        let bytes = self.take(count)?;
        let number =
            bytes.iter().rev().try_fold(0usize, |n, &byte| Some(n.checked_mul(256)? + usize::from(byte)));
        number.ok_or_else(damaged)
    }

    fn text(&mut self, count: usize) -> Result<Value, String> {
        let text = str::from_utf8(self.take(count)?).map_err(|_| damaged())?;
        Ok(Value::Text(text.into()))
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or_else(damaged)?;
        let line = str::from_utf8(&self.take(end + 1)?[..end]).map_err(|_| damaged())?;
        Ok(line.into())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(damaged)
    }

    /// The values since the last mark.
    fn group(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark).ok_or_else(damaged)?;
        let group = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(group)
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let first = self.stack.len().checked_sub(count).ok_or_else(damaged)?;
        let values = self.stack.split_off(first);
        self.stack.push(Value::Tuple(values.into()));
        Ok(())
    }

    fn new_dict(&mut self) -> Value {
        self.heap.dicts.push(Vec::new());
        Value::Dict(self.heap.dicts.len() - 1)
    }

    fn new_list(&mut self) -> Value {
        self.heap.lists.push(Vec::new());
        Value::List(self.heap.lists.len() - 1)
    }

    fn remember(&mut self, place: usize) -> Result<(), String> {
        let value = self.stack.last().ok_or_else(damaged)?.clone();
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), String> {
        let value = self.memo.get(&place).ok_or_else(damaged)?.clone();
        self.stack.push(value);
        Ok(())
    }

    /// Puts pairs of values into the dictionary on top.
    fn set(&mut self, values: &[Value]) -> Result<(), String> {
        let Some(&Value::Dict(dict)) = self.stack.last() else { return Err(damaged()) };
        self.heap.dicts[dict]
            .extend(values.as_chunks().0.iter().map(|[key, value]| (key.clone(), value.clone())));
        Ok(())
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), String> {
        match self.stack.last() {
            Some(&Value::List(list)) => self.heap.lists[list].extend(values),
            Some(Value::Nothing) => {}
            _ => return Err(damaged()),
        }
        Ok(())
    }

    /// Runs one instruction; whether it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let instruction = self.number(1)?;
        #[allow(clippy::cast_possible_truncation)] // it is one byte
        match instruction as u8 {
            b'.' => return Ok(true),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.stack.push(Value::Mark),
            b'0' => drop(self.pop()?),
            // The second adds to a set, of no interest.
            b'1' | 0x90 => drop(self.group()?),
            b'2' => {
                let value = self.stack.last().ok_or_else(damaged)?.clone();
                self.stack.push(value);
            }
            b')' => self.stack.push(Value::Tuple([].into())),
            b't' => {
                let group = self.group()?;
                self.stack.push(Value::Tuple(group.into()));
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'}' => {
                let dict = self.new_dict();
                self.stack.push(dict);
            }
            b']' => {
                let list = self.new_list();
                self.stack.push(list);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let group = self.group()?;
                self.set(&group)?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' => {
                let group = self.group()?;
                self.append(group)?;
            }
            b'q' => {
                let place = self.number(1)?;
                self.remember(place)?;
            }
            b'r' => {
                let place = self.number(4)?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let place = self.number(1)?;
                self.recall(place)?;
            }
            b'j' => {
                let place = self.number(4)?;
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(name), Value::Text(module)) = (name, module) else { return Err(damaged()) };
                self.push_global(&module, &name)?;
            }
            b'Q' => {
                let storage = Rc::new(storage(&self.pop()?)?);
                self.heap.storages.insert(storage.key.clone(), Rc::clone(&storage));
                self.stack.push(Value::Storage(storage));
            }
            b'R' | 0x81 => {
                let (arguments, called) = (self.pop()?, self.pop()?);
                let made = self.call(&called, &arguments)?;
                self.stack.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                // A scripted module's attributes; what else is set on objects does not matter.
                if let (Some(&Value::Dict(object)), Value::Dict(state)) = (self.stack.last(), state)
                    && self.heap.dicts[object].is_empty()
                {
                    let state = self.heap.dicts[state].clone();
                    self.heap.dicts[object] = state;
                }
            }
            other => self.push(other)?,
        }
        Ok(false)
    }

    /// Runs an instruction that puts a number, a text or nothing on the stack.
    fn push(&mut self, instruction: u8) -> Result<(), String> {
        match instruction {
            // The second is a set.
            b'N' | 0x8f => self.stack.push(Value::Nothing),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.push_int(1)?,
            b'M' => self.push_int(2)?,
            b'J' => {
                let bytes = self.take(4)?.first_chunk().copied().ok_or_else(damaged)?;
                self.stack.push(Value::Int(i32::from_le_bytes(bytes).into()));
            }
            0x8a => {
                let count = self.number(1)?;
                let value = signed(self.take(count)?);
                self.stack.push(value);
            }
            b'G' => {
                let bytes = self.take(8)?.first_chunk().copied().ok_or_else(damaged)?;
                self.stack.push(Value::Float(f64::from_be_bytes(bytes)));
            }
            b'X' => self.push_text(4)?,
            0x8c => self.push_text(1)?,
            0x8d => self.push_text(8)?,
            // Bytes: names in old files, otherwise of no interest.
            b'U' | b'C' => self.push_bytes(1)?,
            b'T' | b'B' => self.push_bytes(4)?,
            other => {
                return Err(format!(
                    "its pickle has the instruction {other:#04x}, which state_dicts do not need"
                ));
            }
        }
        Ok(())
    }

    fn push_int(&mut self, count: usize) -> Result<(), String> {
        let number = self.number(count)?;
        self.stack.push(Value::Int(i64::try_from(number).map_err(|_| damaged())?));
        Ok(())
    }

    fn push_text(&mut self, count: usize) -> Result<(), String> {
        let length = self.number(count)?;
        let text = self.text(length)?;
        self.stack.push(text);
        Ok(())
    }

    fn push_bytes(&mut self, count: usize) -> Result<(), String> {
        let length = self.number(count)?;
        let bytes = self.take(length)?;
        let value = str::from_utf8(bytes).map_or(Value::Nothing, |text| Value::Text(text.into()));
        self.stack.push(value);
        Ok(())
    }

    /// What is not known is refused here, where it is named, before anything is made of it.
    fn push_global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let full = format!("{module}.{name}").replace("__builtin__.", "builtins.");
        if !is_known(&full) {
            return Err(format!(
                "its pickle needs {full}, which is no part of a state_dict and is not run here; in PyTorch, \
                 torch.save(model.state_dict(), \"model.pt\") writes a file that can be read"
            ));
        }
        self.stack.push(Value::Global(full.into()));
        Ok(())
    }

    fn call(&mut self, called: &Value, arguments: &Value) -> Result<Value, String> {
        let (Value::Global(name), Value::Tuple(arguments)) = (called, arguments) else {
            return Err(damaged());
        };
        let name: &str = name;
        if DICTS.contains(&name) || name.starts_with(SCRIPTED) {
            let made = self.new_dict();
            if let (Value::Dict(made), Some(&Value::List(pairs))) = (&made, arguments.first()) {
                let pairs = self.heap.lists[pairs].iter().filter_map(|pair| self.pair(pair));
                self.heap.dicts[*made] = pairs.collect();
            }
            return Ok(made);
        }
        if SAME.contains(&name) {
            return arguments.first().cloned().ok_or_else(damaged);
        }
        if TENSORS.contains(&name) {
            // Its entries say that the numbers are not what they seem: negated or conjugate.
            if let Some(&Value::Dict(metadata)) = arguments.get(6)
                && !self.heap.dicts[metadata].is_empty()
            {
                return Err(
                    "a tensor of it is a negated or conjugate view; save tensor.resolve_neg().resolve_conj()"
                        .into(),
                );
            }
            return Ok(Value::Tensor(Rc::new(tensor(arguments).ok_or_else(damaged)?)));
        }
        if DATA.contains(&name) {
            return Ok(Value::Nothing);
        }
        Err(format!("its pickle calls {name}, which is not known here"))
    }

    /// A pair, however it is kept.
    fn pair(&self, value: &Value) -> Option<(Value, Value)> {
        match value {
            Value::Tuple(pair) => Some((pair.first()?.clone(), pair.get(1)?.clone())),
            Value::List(list) => {
                let pair = &self.heap.lists[*list];
                Some((pair.first()?.clone(), pair.get(1)?.clone()))
            }
            _ => None,
        }
    }
}
