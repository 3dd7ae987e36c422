// How places are shared out evenly among parts, which overlap where their number divides them not.

// The part `i` of `whole` places among `parts`: its first place and the one behind its last.
fn share(i: u32, whole: u32, parts: u32) -> vec2<u32> {
    return vec2<u32>(i * whole / parts, ((i + 1u) * whole + parts - 1u) / parts);
}
