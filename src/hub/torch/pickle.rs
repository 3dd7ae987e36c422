//! A pickle read without running anything: a machine that knows what PyTorch writes for tensors, numbers, texts,
//! lists and dictionaries, and refuses everything else by name.
//!
//! Every opcode makes one value at most, and what is copied of others is no more than the pickle is long, so that
//! what it takes in memory grows with its length alone. What a program would have been called for (`os.system`) is refused when it is named.

use std::collections::HashMap;

use super::value::{Global, Id, Storage, Stored, Value, global};

/// Axes of a tensor.
const AXES: usize = 16;
/// Bytes of the name of a storage.
const KEY: usize = 1 << 10;

/// Names of opcodes that are refused, for messages.
fn opcode(code: u8) -> String {
    let name = match code {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        0x8b => "LONG4",
        0x8f => "EMPTY_SET",
        0x91 => "FROZENSET",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        _ => return format!("the opcode {code:#04x}"),
    };
    format!("the opcode {name}")
}

/// A pickle that has been read.
pub(super) struct Pickle {
    values: Vec<Value>,
    /// What it says.
    pub top: Id,
    /// Bytes that it has.
    pub length: usize,
}

impl Pickle {
    pub fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Nothing)
    }

    /// All that it is made of.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// A dictionary's entries whose names are texts.
    pub fn entries(&self, id: Id) -> impl Iterator<Item = (&str, Id)> {
        let entries = match self.get(id) {
            Value::Dict(entries) => &entries[..],
            _ => &[],
        };
        entries
            .iter()
            .filter_map(|(key, value)| match self.get(*key) {
                Value::Text(name) => Some((name.as_str(), *value)),
                _ => None,
            })
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Entries that were copied from other values.
    copied: usize,
}

const SHORT: &str = "ends too early";
const DAMAGED: &str = "is damaged: its steps do not fit each other";

/// Reads the pickle that `bytes` begin with.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    let top = machine.run()?;
    Ok(Pickle {
        values: machine.values,
        top,
        length: machine.at,
    })
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let bytes = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<u64, String> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn length<const N: usize>(&mut self) -> Result<usize, String> {
        usize::try_from(self.number::<N>()?).map_err(|_| SHORT.into())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).ok_or(SHORT)?;
        let length = rest.iter().position(|&b| b == b'\n').ok_or(SHORT)?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<Value, String> {
        let bytes = self.take(length)?.to_vec();
        Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    /// The topmost value, taken off; none from below a mark.
    fn pop(&mut self) -> Result<Id, String> {
        if self
            .marks
            .last()
            .is_some_and(|&mark| self.stack.len() <= mark)
        {
            return Err(DAMAGED.into());
        }
        self.stack.pop().ok_or_else(|| DAMAGED.into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| DAMAGED.into())
    }

    /// What stands above the last mark, taken off with it.
    fn marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or(DAMAGED)?;
        if mark > self.stack.len() {
            return Err(DAMAGED.into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn extend(&mut self, to: Id, items: &[Id]) -> Result<(), String> {
        match self.values.get_mut(to) {
            Some(Value::List(list)) => list.extend_from_slice(items),
            Some(Value::Dict(entries)) => {
                let pairs = items.as_chunks::<2>();
                if !pairs.1.is_empty() {
                    return Err(DAMAGED.into());
                }
                entries.extend(pairs.0.iter().map(|&[key, value]| (key, value)));
            }
            _ => return Err(DAMAGED.into()),
        }
        Ok(())
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let place = u32::try_from(place).map_err(|_| DAMAGED)?;
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let place = u32::try_from(place).map_err(|_| DAMAGED)?;
        let id = self.memo.get(&place).copied().ok_or(DAMAGED)?;
        self.stack.push(id);
        Ok(())
    }

    fn run(&mut self) -> Result<Id, String> {
        loop {
            let code = self.take(1)?[0];
            match code {
                // PROTO, FRAME
                0x80 => {
                    self.take(1)?;
                }
                0x95 => {
                    self.take(8)?;
                }
                // STOP
                b'.' => return self.pop(),
                // MARK, POP, POP_MARK
                b'(' => self.marks.push(self.stack.len()),
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.marked()?;
                }
                b'N' => self.push(Value::Nothing),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                // BININT, BININT1, BININT2, LONG1, BINFLOAT
                b'J' => {
                    let number = self.number::<4>()? as u32 as i32;
                    self.push(Value::Int(number.into()));
                }
                b'K' => {
                    let number = self.number::<1>()? as i64;
                    self.push(Value::Int(number));
                }
                b'M' => {
                    let number = self.number::<2>()? as i64;
                    self.push(Value::Int(number));
                }
                0x8a => {
                    let length = self.length::<1>()?;
                    let bytes = self.take(length)?;
                    // A number that no size is.
                    let value = (length <= 8).then(|| {
                        let sign = bytes.last().is_some_and(|b| b & 0x80 != 0);
                        let mut wide = [if sign { 0xff } else { 0 }; 8];
                        wide[..length].copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    });
                    self.push(value.unwrap_or(Value::Nothing));
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Float);
                }
                // BINUNICODE and its forms; bytes and strings of Python 2 likewise
                b'X' | b'T' | b'B' => {
                    let length = self.length::<4>()?;
                    let text = self.text(length)?;
                    self.push(text);
                }
                0x8c | b'U' | b'C' => {
                    let length = self.length::<1>()?;
                    let text = self.text(length)?;
                    self.push(text);
                }
                0x8d | 0x8e => {
                    let length = self.length::<8>()?;
                    let text = self.text(length)?;
                    self.push(text);
                }
                b')' => self.push(Value::Tuple(Vec::new())),
                b']' => self.push(Value::List(Vec::new())),
                b'}' => self.push(Value::Dict(Vec::new())),
                0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
                b't' => {
                    let items = self.marked()?;
                    self.push(Value::Tuple(items));
                }
                b'l' => {
                    let items = self.marked()?;
                    self.push(Value::List(items));
                }
                b'd' => {
                    let items = self.marked()?;
                    self.push(Value::Dict(Vec::new()));
                    let to = self.top()?;
                    self.extend(to, &items)?;
                }
                // APPEND, APPENDS, SETITEM, SETITEMS
                b'a' => {
                    let item = self.pop()?;
                    let to = self.top()?;
                    self.extend(to, &[item])?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    let to = self.top()?;
                    self.extend(to, &[key, value])?;
                }
                b'e' | b'u' => {
                    let items = self.marked()?;
                    let to = self.top()?;
                    self.extend(to, &items)?;
                }
                // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
                b'q' => {
                    let place = self.number::<1>()?;
                    self.remember(place)?;
                }
                b'r' => {
                    let place = self.number::<4>()?;
                    self.remember(place)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let place = self.number::<1>()?;
                    self.recall(place)?;
                }
                b'j' => {
                    let place = self.number::<4>()?;
                    self.recall(place)?;
                }
                // GLOBAL, STACK_GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(global(&module, &name)?));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) =
                        (&self.values[module], &self.values[name])
                    else {
                        return Err(DAMAGED.into());
                    };
                    let found = global(module, name)?;
                    self.push(Value::Global(found));
                }
                // REDUCE, BUILD, BINPERSID
                b'R' => {
                    let (arguments, called) = (self.pop()?, self.pop()?);
                    let value = self.called(called, arguments)?;
                    self.push(value);
                }
                b'b' => {
                    self.pop()?;
                    // What stands beside a state_dict's tensors, as the versions of its modules.
                    if !matches!(self.values[self.top()?], Value::Dict(_)) {
                        return Err(
                            "sets the inside of an object, and was not run; save the model's \
                                    state_dict() alone"
                                .into(),
                        );
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(Value::Storage(storage));
                }
                code => {
                    let name = opcode(code);
                    return Err(format!(
                        "has {name}, which no file of tensors needs; save the model's state_dict() with torch.save"
                    ));
                }
            }
        }
    }

    fn items(&self, id: Id) -> &[Id] {
        match self.values.get(id) {
            Some(Value::Tuple(items) | Value::List(items)) => items,
            _ => &[],
        }
    }

    fn size(&self, id: Id) -> Result<usize, String> {
        match self.values.get(id) {
            Some(Value::Int(n)) => usize::try_from(*n).map_err(|_| {
                format!("says that a tensor has a size or step of {n}; copy it again")
            }),
            _ => Err(DAMAGED.into()),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>, String> {
        let items = self.items(id);
        if items.len() > AXES {
            return Err(format!(
                "says that a tensor has {} axes; copy it again",
                items.len()
            ));
        }
        items.iter().map(|&item| self.size(item)).collect()
    }

    /// What a call of those few that are known gives.
    fn called(&mut self, called: Id, arguments: Id) -> Result<Value, String> {
        let Some(&Value::Global(global)) = self.values.get(called) else {
            return Err("calls what it has made, and was not run".into());
        };
        if let (Global::OrderedDict, &[pairs]) = (global, self.items(arguments)) {
            // A list that is there once could be asked for again and again.
            self.copied += self.items(pairs).len();
            if self.copied > self.bytes.len() {
                return Err(DAMAGED.into());
            }
        }
        let arguments = self.items(arguments);
        match (global, arguments) {
            (Global::OrderedDict, []) => Ok(Value::Dict(Vec::new())),
            (Global::OrderedDict, [pairs]) => {
                let pair = |id: &Id| match self.items(*id) {
                    [key, value] => Ok((*key, *value)),
                    _ => Err(DAMAGED.to_string()),
                };
                let pairs = self.items(*pairs).iter().map(pair);
                Ok(Value::Dict(pairs.collect::<Result<_, _>>()?))
            }
            (Global::Size, [sizes]) => {
                self.sizes(*sizes)?;
                Ok(Value::Tuple(self.items(*sizes).to_vec()))
            }
            (Global::Parameter, [tensor, ..]) => match self.values.get(*tensor) {
                Some(Value::Tensor(tensor)) => Ok(Value::Tensor(tensor.clone())),
                _ => Err(DAMAGED.into()),
            },
            (Global::Tensor, [storage, offset, shape, strides, ..]) => {
                let Some(Value::Storage(storage)) = self.values.get(*storage) else {
                    return Err(DAMAGED.into());
                };
                let (shape, strides) = (self.sizes(*shape)?, self.sizes(*strides)?);
                if shape.len() != strides.len() {
                    return Err(DAMAGED.into());
                }
                Ok(Value::Tensor(Stored {
                    storage: storage.clone(),
                    offset: self.size(*offset)?,
                    shape,
                    strides,
                }))
            }
            _ => Err(DAMAGED.into()),
        }
    }

    /// The storage that is meant by ("storage", its type, its key, a device, its length, a view).
    fn storage(&self, id: Id) -> Result<Storage, String> {
        let [what, kind, key, _, count, view @ ..] = self.items(id) else {
            return Err(DAMAGED.into());
        };
        if let [view] = view
            && self.values.get(*view) != Some(&Value::Nothing)
        {
            return Err("has a view of a storage as PyTorch 0.x wrote it; load and save it once with a newer one".into());
        }
        let value = |id: Id| self.values.get(id);
        match (value(*what), value(*kind), value(*key)) {
            (
                Some(Value::Text(what)),
                Some(Value::Global(Global::Storage(element))),
                Some(Value::Text(key)),
            ) if what == "storage" && key.len() <= KEY => Ok(Storage {
                element: *element,
                key: key.clone(),
                count: self.size(*count)?,
            }),
            _ => Err(DAMAGED.into()),
        }
    }
}
