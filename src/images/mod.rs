//! Everything between pictures on disk and batches of pixels in host memory.
//!
//! ```text
//! sources (files, archives -> named pictures with labels) -> decode -> resize -> pictures (cached, 8 bits)
//! pictures -> augmentation, drawn by seed, epoch and picture -> pixels (N, H, W, C) f32, normalised -> batches
//! ```
//!
//! Nothing here touches a GPU. What is drawn is decided by a seed, never by the number of threads.

mod augment;
mod batches;
mod pictures;
mod preprocess;
mod resize;

pub use augment::{Augment, ColorJitter, RandomCrop, RandomErasing, RandomResizedCrop};
pub use batches::{Mix, Mixed, PictureBatch, PictureBatches, PictureOptions};
pub use pictures::{Picture, Pictures, View};
pub use preprocess::{IMAGENET, Normalise, Preprocessing, Resize, Stated};
pub use resize::{crop, resize};
