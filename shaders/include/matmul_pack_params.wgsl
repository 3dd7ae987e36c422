// Parameters of the kernels that pack an operand.
struct Params {
    extent: u32,    // rows of A or columns of B
    k: u32,         // inner size
    kp: u32,        // k padded to a multiple of 8
    width: u32,     // of a panel, a multiple of 4
    panels: u32,    // ceil(extent / width)
    stride_e: u32,  // floats from one row of A (column of B) to the next
    stride_k: u32,  // floats from one k to the next
    src_batch: u32, // floats from one batch to the next, source
    dst_batch: u32, // vec4s from one batch to the next, panels
}

@group(0) @binding(0) var<uniform> p: Params;
