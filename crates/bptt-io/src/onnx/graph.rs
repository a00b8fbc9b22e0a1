//! The messages of an ONNX file, as far as they matter here.
//!
//! Source: onnx/onnx.proto of ONNX 1.23, which numbers the fields.

use prost::Message;

use crate::tensor::{Dtype, Tensor};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Array>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub kind: String,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub float: f32,
    #[prost(int64, tag = "3")]
    pub int: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub text: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub array: Option<Array>,
    #[prost(message, optional, tag = "6")]
    pub graph: Option<Graph>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub texts: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Array {
    #[prost(int64, repeated, tag = "1")]
    pub sizes: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(float, repeated, tag = "4")]
    pub floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub integers: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub longs: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub bytes: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    pub doubles: Vec<f64>,
    /// 1: the numbers are in another file.
    #[prost(int32, tag = "14")]
    pub location: i32,
}

/// Whether the bytes begin as a model does: the format's version, and then the producer or the next fields.
pub(crate) fn is_model(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=20, 0x12 | 0x3a | 0x42, ..])
}

impl Model {
    /// The graph of a file.
    pub fn graph_of(bytes: &[u8]) -> Result<Graph, String> {
        let model =
            Self::decode(bytes).map_err(|error| format!("it is an ONNX graph that is damaged ({error})"))?;
        model.graph.ok_or_else(|| "it is an ONNX file without a graph".into())
    }
}

impl Node {
    /// The attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The array of a Constant, whichever of its attributes has it.
    pub fn constant(&self) -> Option<Array> {
        self.attributes.iter().find_map(|of| {
            let (sizes, kind) = match of.name.as_str() {
                "value" => return of.array.clone(),
                "value_float" => (Vec::new(), 1),
                "value_floats" => (vec![i64::try_from(of.floats.len()).ok()?], 1),
                "value_int" => (Vec::new(), 7),
                "value_ints" => (vec![i64::try_from(of.ints.len()).ok()?], 7),
                _ => return None,
            };
            let mut array =
                Array { sizes, kind, floats: of.floats.clone(), longs: of.ints.clone(), ..Array::default() };
            if array.sizes.is_empty() {
                (array.floats, array.longs) = (vec![of.float], vec![of.int]);
            }
            Some(array)
        })
    }
}

impl Array {
    /// Its numbers in their order, whether real or integers.
    ///
    /// # Errors
    /// What is not understood, in words.
    pub fn numbers(&self) -> Result<Vec<f64>, String> {
        let numbers: Vec<f64> = match self.kind {
            6 if self.bytes.is_empty() => self.integers.iter().copied().map(f64::from).collect(),
            6 => self.bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect(),
            7 if self.bytes.is_empty() => self.longs.iter().map(|&number| number as f64).collect(),
            7 => self.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
            _ => {
                let tensor = self.tensor("")?;
                let integers = || Some(tensor.integers()?.into_iter().map(|number| number as f64).collect());
                return tensor.floats().or_else(integers).ok_or_else(|| "it has no numbers".into());
            }
        };
        let count = self.sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(usize::try_from(size).ok()?));
        if count != Some(numbers.len()) {
            return Err("it has not as many numbers as its shape says".into());
        }
        Ok(numbers)
    }

    /// The array as a tensor called `name`, if its numbers are real or integers of one byte, and here.
    ///
    /// # Errors
    /// What is not understood, in words.
    pub fn tensor(&self, name: &str) -> Result<Tensor, String> {
        if self.location == 1 {
            return Err("its numbers are in another file; save the model in one".into());
        }
        let sizes: Option<Vec<usize>> = self.sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
        let count =
            sizes.as_ref().and_then(|sizes| sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)));
        let (shape, count) = sizes.zip(count).ok_or("its shape is not possible")?;
        // The numbers of TensorProto.DataType.
        let dtype = match self.kind {
            1 => Dtype::F32,
            2 => Dtype::U8,
            3 => Dtype::I8,
            10 => Dtype::F16,
            11 => Dtype::F64,
            16 => Dtype::BF16,
            other => return Err(format!("its type is number {other} of ONNX; expected real numbers")),
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a byte each
        let bytes = match dtype {
            _ if !self.bytes.is_empty() => self.bytes.clone(),
            Dtype::F32 => self.floats.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Dtype::F64 => self.doubles.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Dtype::U8 | Dtype::I8 => self.integers.iter().map(|&number| number as u8).collect(),
            _ => self.integers.iter().flat_map(|&number| (number as u16).to_le_bytes()).collect(),
        };
        if count.checked_mul(dtype.bitsize() / 8) != Some(bytes.len()) {
            return Err("it has not as many numbers as its shape says".into());
        }
        Ok(Tensor { name: name.into(), dtype, shape, bytes })
    }
}
