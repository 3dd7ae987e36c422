// The picture of a product whose rows of A, or of B, are gathered pixels.
@group(0) @binding(8) var<storage, read> picture: Picture; // (64 bytes): which pixel each tap of a row reads
#include "picture.wgsl"
