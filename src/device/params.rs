//! What kernels are told: the contents of their uniforms.

/// A kernel's parameters: the fields of its `Params`, in that order, each with its type there. A value
/// is made of that type as by `as`; without one, it is the variable of the field's name.
macro_rules! params {
    (@ $field:ident) => { $field };
    (@ $field:ident = $value:expr) => { $value };
    ($($field:ident: $ty:ty $(= $value:expr)?),* $(,)?) => {{
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        struct Params {
            $($field: $ty),*
        }
        Params { $($field: params!(@ $field $(= $value)?) as $ty),* }
    }};
}

pub(crate) use params;
