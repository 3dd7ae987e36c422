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
mod cache;
mod cifar;
mod decode;
mod idx;
mod pictures;
mod preprocess;
mod read;
mod resize;
mod sources;
mod table;
mod thumbnail;

pub use augment::{Augment, ColorJitter, RandomCrop, RandomErasing, RandomResizedCrop};
pub use batches::{Mix, Mixed, PictureBatch, PictureBatches, PictureOptions};
pub use cache::{Scale, open};
pub use decode::{decode, is_picture};
pub use pictures::{Picture, Pictures, View};
pub use preprocess::{IMAGENET, Normalise, Preprocessing, Resize, Stated};
pub use read::{Broken, Kept, OnBroken, Read, read};
pub use resize::{crop, resize};
pub use sources::{Encoded, ImageFormat, ImageSource, Item, Sink};
pub use thumbnail::thumbnail;
