// What a product's Params say of a low-rank update; without one all are 0.
    rank: u32,       // inner size of the update
    up_r: u32,       // floats from one of the rank to the next in V
    up_col: u32,     // floats from one column of V to the next
    first: u32,      // MASKED: values of the whole C before this one's first, a multiple of 4
    layer: u32,      // MASKED: tells this dropout's random stream from the model's others
    threshold: u32,  // MASKED: p 2^32 (kernels::philox::drop_threshold)
    scale: f32,      // factor of the update; MASKED: 1 / (1 - p)
