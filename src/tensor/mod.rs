//! Tensors: a piece of device memory with a shape and an element type; and the tape that
//! differentiates what is computed with them.

mod held;
mod init;
mod params;
mod shape;
mod spec;
mod tape;

pub use init::Init;
pub use params::{ParamGroup, ParamStore, Place, Rule};
pub use shape::{DType, Element, Shape};
pub use spec::{Depth, ParamSpec};
pub use tape::{Backward, Sink, Tape};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{Bound, Buffer, Gpu, Groups, Image, Lines, Readback, Resource, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use shape::bytes;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Row-major values on the device. Cheap to clone: clones share the memory.
#[derive(Clone)]
pub struct Tensor {
    gpu: Gpu,
    buffer: Arc<Buffer>,
    offset: u64,
    shape: Shape,
    dtype: DType,
    id: u64,
    /// Where the gradient is accumulated, for a trainable parameter.
    grad: Option<Arc<Tensor>>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor#{}{} {}", self.id, self.shape, self.dtype.name())
    }
}

/// Refuses what no binding can hold.
fn check_size(gpu: &Gpu, bytes: u64, what: &str) -> Result<()> {
    let limit = gpu.caps().limits.max_storage_buffer_binding_size;
    if bytes <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: what.to_string(),
        bytes,
        limit,
        limit_name: "one storage binding",
    })
}

impl Tensor {
    /// A tensor of unspecified contents.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty shape, [`Error::TooLarge`] beyond the adapter's limits.
    pub fn empty(gpu: &Gpu, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let shape = shape.into();
        if shape.is_empty() {
            let expected = "at least one element";
            return Err(Error::argument("tensor", "shape", &shape, expected));
        }
        let bytes = bytes(shape.len(), dtype);
        let what = format!("a tensor of shape {shape}");
        check_size(gpu, bytes, &what)?;
        let buffer = gpu.alloc(bytes, &what)?;
        Ok(Tensor::view(gpu, buffer, 0, shape, dtype))
    }

    fn view(gpu: &Gpu, buffer: Arc<Buffer>, offset: u64, shape: Shape, dtype: DType) -> Tensor {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Tensor {
            gpu: gpu.clone(),
            buffer,
            offset,
            shape,
            dtype,
            id,
            grad: None,
        }
    }

    /// A tensor of zeros. The clearing is a queued command, so it repeats in a replay.
    ///
    /// # Errors
    /// As [`Tensor::empty`].
    pub fn zeros(gpu: &Gpu, shape: impl Into<Shape>) -> Result<Tensor> {
        let tensor = Tensor::empty(gpu, shape, DType::F32)?;
        tensor.clear();
        Ok(tensor)
    }

    /// A tensor with the given values.
    ///
    /// # Errors
    /// [`Error::Shape`] when their number is not the shape's; as [`Tensor::empty`]; and
    /// [`Error::Device`] inside a recording.
    pub fn from_slice<T: Element>(
        gpu: &Gpu,
        shape: impl Into<Shape>,
        values: &[T],
    ) -> Result<Tensor> {
        let tensor = Tensor::empty(gpu, shape, T::DTYPE)?;
        tensor.write(values)?;
        Ok(tensor)
    }

    /// A tensor that holds these values and is never written: it may be made inside a recording.
    ///
    /// # Errors
    /// [`Error::Shape`] when their number is not the shape's; [`Error::TooLarge`].
    pub fn constant<T: Element>(
        gpu: &Gpu,
        shape: impl Into<Shape>,
        values: &[T],
    ) -> Result<Tensor> {
        let shape = shape.into();
        if values.is_empty() || values.len() != shape.len() {
            return Err(Error::Shape {
                op: "constant",
                arg: "values",
                expected: shape.to_string(),
                found: format!("{} values", values.len()),
            });
        }
        let what = format!("a tensor of shape {shape}");
        check_size(gpu, bytes(shape.len(), T::DTYPE), &what)?;
        let buffer = gpu.alloc_filled(bytemuck::cast_slice(values))?;
        Ok(Tensor::view(gpu, buffer, 0, shape, T::DTYPE))
    }

    /// Overwrites all values from the host, after everything queued so far.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::DType`]; [`Error::Device`] inside a recording.
    pub fn write<T: Element>(&self, values: &[T]) -> Result<()> {
        self.expect_dtype("write", "values", T::DTYPE)?;
        if values.len() != self.len() {
            return Err(Error::Shape {
                op: "write",
                arg: "values",
                expected: self.shape.to_string(),
                found: format!("{} values", values.len()),
            });
        }
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.len().is_multiple_of(4) {
            return self.gpu.write(&self.buffer, self.offset, bytes);
        }
        let mut padded = bytes.to_vec();
        padded.resize(self.bytes() as usize, 0);
        self.gpu.write(&self.buffer, self.offset, &padded)
    }

    /// Queues `self[..] = value`.
    ///
    /// # Errors
    /// [`Error::DType`] when this does not hold f32.
    pub fn fill(&self, value: f32) -> Result<()> {
        self.expect_dtype("fill", "self", DType::F32)?;
        let kernel = self.gpu.kernel("fill", &Variant::new())?;
        let params = params! { n: u32 = self.len(), offset: u32 = 0, value: f32 };
        let groups = Groups::cover(self.len(), 256);
        (self.gpu).dispatch(&kernel, &params, &[self.binding()], groups)
    }

    /// Queues zeroing.
    pub fn clear(&self) {
        self.gpu.clear(&self.buffer, self.offset, self.bytes());
    }

    /// Queues a copy of all values of `from`, which has as many.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::DType`]; [`Error::Kernel`] when both lie in one buffer.
    pub fn copy_from(&self, from: &Tensor) -> Result<()> {
        from.expect_dtype("copy", "from", self.dtype)?;
        if from.len() != self.len() {
            return Err(from.wrong_shape("copy", "from", self.shape.to_string()));
        }
        let to = (&self.buffer, self.offset);
        (self.gpu).copy((&from.buffer, from.offset), to, self.bytes())
    }

    /// Starts reading the values back; they arrive later.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn read(&self) -> Result<Readback> {
        self.gpu.read((&self.buffer, self.offset), self.bytes())
    }

    /// The values; waits for the device.
    ///
    /// # Errors
    /// [`Error::DType`], [`Error::Device`].
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.expect_dtype("to_vec", "self", T::DTYPE)?;
        let mut values = self.read()?.wait()?;
        values.truncate(self.len());
        Ok(values)
    }

    /// The same tensor under another shape of as many elements. Gradients pass through.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshaped(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.len() != self.len() {
            return Err(Error::Shape {
                op: "reshape",
                arg: "shape",
                expected: format!("{} elements", self.len()),
                found: shape.to_string(),
            });
        }
        // The identity stays: the tape knows a tensor by it, and its gradient has the same layout.
        Ok(Tensor {
            shape,
            ..self.clone()
        })
    }

    /// Elements `start..start + shape.len()` of the memory, as a tensor of its own; `start` must
    /// fall on the adapter's storage alignment, and on 16 bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] unless it does and the range lies within.
    pub fn window(&self, start: usize, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let offset = self.offset + self.dtype.bytes(start);
        let align = self.gpu.caps().limits.min_storage_buffer_offset_alignment;
        // Kernels read four values at a time, whatever less the adapter would allow.
        let align = u64::from(align).max(16);
        if start + shape.len() > self.len() || !offset.is_multiple_of(align) {
            return Err(Error::Shape {
                op: "window",
                arg: "start",
                expected: format!("an aligned range within {}", self.shape),
                found: format!("{} elements from {start}", shape.len()),
            });
        }
        let buffer = self.buffer.clone();
        Ok(Tensor::view(&self.gpu, buffer, offset, shape, self.dtype))
    }

    /// Copies elements `start..start + len` into a new tensor; any start.
    pub(crate) fn copy_of_range(&self, start: usize, shape: impl Into<Shape>) -> Result<Tensor> {
        let out = Tensor::empty(&self.gpu, shape, self.dtype)?;
        if start + out.len() > self.len() {
            return Err(Error::Shape {
                op: "copy",
                arg: "start",
                expected: format!("a range within {}", self.shape),
                found: format!("{} elements from {start}", out.len()),
            });
        }
        let offset = self.offset + self.dtype.bytes(start);
        self.gpu
            .copy((&self.buffer, offset), (&out.buffer, 0), out.bytes())?;
        Ok(out)
    }

    /// Queues elements `start..start + len` to become those of `from`, or zeros.
    pub(crate) fn set_range(&self, start: usize, len: usize, from: Option<&Tensor>) -> Result<()> {
        let offset = self.offset + self.dtype.bytes(start);
        let bytes = self.dtype.bytes(len);
        if let Some(from) = from {
            let to = (&self.buffer, offset);
            return self.gpu.copy((&from.buffer, from.offset), to, bytes);
        }
        self.gpu.clear(&self.buffer, offset, bytes);
        Ok(())
    }

    /// The same tensor for the tape, which knows it by its identity and shape, without its memory:
    /// what a backward pass keeps of a tensor whose values it does not read.
    pub(crate) fn without_values(&self) -> Tensor {
        Tensor {
            buffer: Buffer::none(),
            ..self.clone()
        }
    }

    /// The same tensor as a trainable parameter whose gradient accumulates in `grad`.
    pub fn with_grad(mut self, grad: Tensor) -> Tensor {
        self.grad = Some(Arc::new(grad));
        self
    }

    /// Where this parameter's gradient is accumulated; `None` for what is not trained.
    pub fn grad(&self) -> Option<&Tensor> {
        self.grad.as_deref()
    }

    /// The context it lives in.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Sizes of its axes.
    pub fn dims(&self) -> &[usize] {
        &self.shape.0
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Never true: a tensor holds at least one element.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of all elements, whole words.
    pub fn bytes(&self) -> u64 {
        bytes(self.len(), self.dtype)
    }

    /// Whether it holds f16, as the kernels' flags ask.
    pub(crate) fn is_half(&self) -> bool {
        self.dtype == DType::F16
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The whole tensor, for a dispatch.
    pub fn binding(&self) -> Bound<'_> {
        Bound {
            resource: Resource::Buffer(&self.buffer, self.offset),
            size: self.bytes(),
        }
    }

    /// Queues a copy of the first `lines` of this tensor's memory into an image.
    pub(crate) fn image(&self, lines: &Lines) -> Result<Arc<Image>> {
        self.gpu.image((&self.buffer, self.offset), lines)
    }

    /// Fails unless the element type is `dtype`.
    pub(crate) fn expect_dtype(
        &self,
        op: &'static str,
        arg: &'static str,
        dtype: DType,
    ) -> Result<()> {
        if self.dtype == dtype {
            return Ok(());
        }
        Err(Error::DType {
            op,
            arg,
            expected: dtype.name(),
            found: self.dtype.name(),
        })
    }

    /// Fails unless it holds floats, f32 or f16.
    pub(crate) fn expect_float(&self, op: &'static str, arg: &'static str) -> Result<()> {
        match self.dtype {
            DType::F32 | DType::F16 => Ok(()),
            DType::U32 | DType::Packed(_) => Err(Error::DType {
                op,
                arg,
                expected: "f32 or f16",
                found: self.dtype.name(),
            }),
        }
    }

    /// Fails unless the shape is `dims` and the element type `dtype`.
    pub(crate) fn expect(
        &self,
        op: &'static str,
        arg: &'static str,
        dims: &[usize],
        dtype: DType,
    ) -> Result<()> {
        self.expect_dtype(op, arg, dtype)?;
        if self.dims() == dims {
            return Ok(());
        }
        Err(self.wrong_shape(op, arg, Shape::from(dims).to_string()))
    }

    /// The two axes of a matrix.
    pub(crate) fn dims2(&self, op: &'static str, arg: &'static str) -> Result<[usize; 2]> {
        self.dims()
            .try_into()
            .map_err(|_| self.wrong_shape(op, arg, "(rows, columns)"))
    }

    /// The three axes of a sequence.
    pub(crate) fn dims3(&self, op: &'static str, arg: &'static str) -> Result<[usize; 3]> {
        self.dims()
            .try_into()
            .map_err(|_| self.wrong_shape(op, arg, "(T, B, C)"))
    }

    /// The error of a shape that is not as `expected`.
    pub(crate) fn wrong_shape(
        &self,
        op: &'static str,
        arg: &'static str,
        expected: impl Into<String>,
    ) -> Error {
        Error::Shape {
            op,
            arg,
            expected: expected.into(),
            found: self.shape.to_string(),
        }
    }
}
