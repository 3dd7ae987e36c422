//! What a pickle of tensors is made of.

/// A value's place.
pub(super) type Id = usize;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// None, or what is of no use here.
    Nothing,
    Bool(bool),
    Int(i64),
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Stored),
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Tensor,
    Parameter,
    Size,
    Storage(Element),
}

/// What numbers are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }
}

/// Numbers that tensors share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub element: Element,
    /// Its name in the file.
    pub key: String,
    /// How many there are.
    pub count: usize,
}

/// A tensor: a view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub storage: Storage,
    /// Number of the storage at which it begins.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle asks for by its module and name.
///
/// # Errors
/// What it is, where that is no tensor.
pub(super) fn global(module: &str, name: &str) -> Result<Global, String> {
    let storage = |element| Ok(Global::Storage(element));
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Ok(Global::Tensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::Parameter),
        ("torch", "Size") => Ok(Global::Size),
        ("torch", "DoubleStorage") => storage(Element::F64),
        ("torch", "FloatStorage") => storage(Element::F32),
        ("torch", "HalfStorage") => storage(Element::F16),
        ("torch", "BFloat16Storage") => storage(Element::Bf16),
        ("torch", "LongStorage") => storage(Element::I64),
        ("torch", "IntStorage") => storage(Element::I32),
        ("torch", "ShortStorage") => storage(Element::I16),
        ("torch", "CharStorage") => storage(Element::I8),
        ("torch", "ByteStorage") => storage(Element::U8),
        ("torch", "BoolStorage") => storage(Element::Bool),
        _ => Err(format!(
            "asks for {module}.{name}, which is no tensor, and was not run; save the model's state_dict() alone"
        )),
    }
}
