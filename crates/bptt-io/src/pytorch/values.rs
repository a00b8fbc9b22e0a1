//! What pickles of PyTorch's files are made of, and which classes and functions are known.

use std::collections::HashMap;
use std::rc::Rc;

/// A value; dictionaries and lists are numbers in a [`Heap`], because they are filled after others refer to them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// None, or data that does not matter here: a device, a path.
    Nothing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Tuple(Rc<[Self]>),
    List(usize),
    Dict(usize),
    /// Something to be called or made, by its full name.
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<StoredTensor>),
    /// Where a group of values on the stack begins.
    Mark,
}

/// Numbers in a file of their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// The name of its type: `"FloatStorage"`.
    pub kind: String,
    pub key: String,
    pub count: usize,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredTensor {
    pub storage: Rc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Dictionaries, as pairs in their order, lists, and storages by their keys.
#[derive(Debug, Default)]
pub(super) struct Heap {
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub lists: Vec<Vec<Value>>,
    pub storages: HashMap<String, Rc<Storage>>,
}

/// Classes and functions whose results are data that does not matter here.
pub(super) const DATA: [&str; 26] = [
    "argparse.Namespace",
    "types.SimpleNamespace",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "datetime.datetime",
    "datetime.timedelta",
    "torch.device",
    "torch.Size",
    "torch.serialization._get_layout",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
    "builtins.set",
    "builtins.frozenset",
    "builtins.bytearray",
    "builtins.slice",
    "builtins.list",
    "builtins.int",
    "builtins.float",
    "builtins.str",
    "builtins.object",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
];

/// What gives back its first argument.
pub(super) const SAME: [&str; 8] = [
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.jit._pickle.build_intlist",
    "torch.jit._pickle.build_doublelist",
    "torch.jit._pickle.build_boollist",
    "torch.jit._pickle.build_tensorlist",
    "torch.jit._pickle.restore_type_tag",
];

pub(super) const DICTS: [&str; 3] = ["collections.OrderedDict", "collections.defaultdict", "builtins.dict"];

pub(super) const TENSORS: [&str; 2] = ["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"];

const DTYPES: [&str; 13] = [
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "complex128",
    "strided",
];

/// TorchScript's modules are objects of classes with this prefix.
pub(super) const SCRIPTED: &str = "__torch__.";

/// Whether a class or function is known by its full name.
pub(super) fn is_known(full: &str) -> bool {
    let of_torch = full.strip_prefix("torch.storage.").or_else(|| full.strip_prefix("torch."));
    let is_type = |name: &str| !name.contains('.') && (name.ends_with("Storage") || DTYPES.contains(&name));
    of_torch.is_some_and(is_type)
        || full.starts_with(SCRIPTED)
        || TENSORS.contains(&full)
        || DATA.contains(&full)
        || SAME.contains(&full)
        || DICTS.contains(&full)
}

/// What a pickle that cannot be followed is.
pub(super) fn damaged() -> String {
    "its pickle is cut off or damaged".into()
}

/// A signed number of any length; what does not fit is of no interest.
pub(super) fn signed(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Nothing;
    }
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(all))
}

/// `("storage", type, key, place, count)`.
pub(super) fn storage(value: &Value) -> Result<Storage, String> {
    let Value::Tuple(parts) = value else { return Err(damaged()) };
    let [Value::Text(what), Value::Global(kind), Value::Text(key), _, Value::Int(count), ..] = &**parts
    else {
        return Err(damaged());
    };
    let kind = kind.rsplit('.').next().unwrap_or_default();
    let count = usize::try_from(*count).map_err(|_| damaged())?;
    if &**what != "storage" {
        return Err(damaged());
    }
    Ok(Storage { kind: kind.into(), key: (&**key).into(), count })
}

/// (storage, offset, shape, strides, …).
pub(super) fn tensor(arguments: &[Value]) -> Option<StoredTensor> {
    let [Value::Storage(storage), Value::Int(offset), Value::Tuple(shape), Value::Tuple(strides), ..] =
        arguments
    else {
        return None;
    };
    let size = |value: &Value| match value {
        Value::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let sizes = |values: &[Value]| values.iter().map(size).collect::<Option<Vec<usize>>>();
    Some(StoredTensor {
        storage: Rc::clone(storage),
        offset: usize::try_from(*offset).ok()?,
        shape: sizes(shape)?,
        strides: sizes(strides).filter(|strides| strides.len() == shape.len())?,
    })
}
