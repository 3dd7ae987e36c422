//! Every shader and include, and the notes on each kernel, embedded in the binary.
//!
//! One line per kernel in the list below; a test compares the list with the files on disk.

use super::contract::Feature;
use super::{Contract, KernelError, Result, Target, Variant, preprocess};
use std::sync::OnceLock;

/// A kernel of the catalogue.
#[derive(Debug)]
pub struct KernelSource {
    /// Kernel name = file stem = entry point.
    pub name: &'static str,
    /// Folder under `shaders/` and `kernels/`.
    pub family: &'static str,
    /// WGSL before the preprocessor.
    pub wgsl: &'static str,
    /// What the WGSL cannot say, as TOML.
    pub notes: &'static str,
    parsed: OnceLock<Result<Contract>>,
}

impl KernelSource {
    /// The contract, parsed on first use.
    pub fn contract(&self) -> Result<&Contract> {
        let parse = || Contract::parse(self.name, self.family, self.wgsl, self.notes, &include);
        self.parsed
            .get_or_init(parse)
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The text to hand to a WGSL compiler. Constants and flags that `variant` leaves open
    /// take the contract's defaults.
    ///
    /// # Errors
    /// [`KernelError::NotForTarget`] for cooperative matrices in a browser, and what is wrong with
    /// the variant.
    pub fn source(&self, variant: &Variant, target: Target) -> Result<String> {
        let contract = self.contract()?;
        let features = contract.features(variant)?;
        if features.iter().any(|f| !target.has(*f)) {
            return Err(KernelError::NotForTarget {
                kernel: self.name.to_string(),
            });
        }
        let file = format!("{}/{}.wgsl", self.family, self.name);
        let full = contract.complete(variant)?;
        let body = preprocess::expand(&file, self.wgsl, &full, &include)?;
        let mut text = String::new();
        for feature in features {
            text.push_str(match (feature, target) {
                // naga knows subgroups without the line and refuses the line.
                (Feature::Subgroup, Target::Naga) => "",
                (Feature::Subgroup, Target::Web) => "enable subgroups;\n",
                (Feature::F16, _) => "enable f16;\n",
                (Feature::CooperativeMatrix, _) => "enable wgpu_cooperative_matrix;\n",
            });
        }
        Ok(text + &body)
    }
}

/// The kernel of that name.
pub fn get(name: &str) -> Option<&'static KernelSource> {
    KERNELS.iter().find(|k| k.name == name)
}

/// All kernels, by family.
pub fn iter() -> impl Iterator<Item = &'static KernelSource> {
    KERNELS.iter()
}

/// The text of an include of `shaders/include/`.
pub fn include(file: &str) -> Option<&'static str> {
    INCLUDES
        .iter()
        .find(|(name, _)| *name == file)
        .map(|(_, text)| *text)
}

/// Names of all includes.
pub fn includes() -> impl Iterator<Item = &'static str> {
    INCLUDES.iter().map(|(name, _)| *name)
}

/// The text of kernel `name` for `target`; see [`KernelSource::source`].
pub fn source(name: &str, variant: &Variant, target: Target) -> Result<String> {
    find(name)?.source(variant, target)
}

/// The contract of kernel `name`.
pub fn contract(name: &str) -> Result<&'static Contract> {
    find(name)?.contract()
}

fn find(name: &str) -> Result<&'static KernelSource> {
    get(name).ok_or_else(|| KernelError::UnknownKernel {
        name: name.to_string(),
    })
}

macro_rules! include_files {
    ($($file:literal)*) => {
        static INCLUDES: &[(&str, &str)] = &[$((
            $file,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/include/", $file)),
        )),*];
    };
}

macro_rules! kernels {
    ($($family:literal { $($name:literal)* })*) => {
        static KERNELS: [KernelSource; [$($($name),*),*].len()] = [$($(KernelSource {
            name: $name,
            family: $family,
            wgsl: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/shaders/", $family, "/", $name, ".wgsl"
            )),
            notes: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/kernels/", $family, "/", $name, ".toml"
            )),
            parsed: OnceLock::new(),
        }),*),*];
    };
}

include_files! {
    "attention.wgsl"
    "attention_dkv_store.wgsl"
    "attention_dq_store.wgsl"
    "attention_fwd_store.wgsl"
    "attention_grad.wgsl"
    "attention_tile.wgsl"
    "batch_norm.wgsl"
    "blocks.wgsl"
    "blocks_kinds.wgsl"
    "blocks_pieces.wgsl"
    "blocks_step.wgsl"
    "coords.wgsl"
    "dropout.wgsl"
    "gate.wgsl"
    "grad_state.wgsl"
    "half.wgsl"
    "image_blocks.wgsl"
    "index.wgsl"
    "linear.wgsl"
    "low_rank.wgsl"
    "low_rank_block.wgsl"
    "low_rank_lanes.wgsl"
    "low_rank_params.wgsl"
    "lstm_bwd.wgsl"
    "lstm_bwd_buffers.wgsl"
    "lstm_fwd.wgsl"
    "lstm_fwd_buffers.wgsl"
    "lstm_units.wgsl"
    "loss_scale.wgsl"
    "math.wgsl"
    "matmul_out.wgsl"
    "matmul_pack_params.wgsl"
    "matmul_panels.wgsl"
    "matmul_params.wgsl"
    "matmul_store.wgsl"
    "outer_broadcast.wgsl"
    "matmul_strided.wgsl"
    "philox.wgsl"
    "picture.wgsl"
    "picture_lanes.wgsl"
    "picture_product.wgsl"
    "random.wgsl"
    "real.wgsl"
    "reduce.wgsl"
    "row_dropout.wgsl"
    "row_lanes.wgsl"
    "rows_broadcast.wgsl"
    "share.wgsl"
    "step_state.wgsl"
    "stored.wgsl"
    "subgroup.wgsl"
    "target_loss.wgsl"
}

kernels! {
    "attention" {
        "attention_delta"
        "attention_dkv"
        "attention_dkv_subgroup"
        "attention_dq"
        "attention_dq_subgroup"
        "attention_fwd"
        "attention_fwd_subgroup"
    }
    "batch_norm" {
        "batch_norm_bwd"
        "batch_norm_bwd_weights"
        "batch_norm_finish"
        "batch_norm_fwd"
        "batch_norm_stats"
    }
    "blocks" {
        "expand"
    }
    "conv" {
        "conv_direct"
        "conv_direct_weights"
    }
    "dropout" {
        "add_noise"
        "dropout_bwd"
        "dropout_fwd"
    }
    "elementwise" {
        "axpy"
        "binary_bwd"
        "binary_fwd"
        "cache_append"
        "copy_strided"
        "fill"
        "unary_bwd"
        "unary_fwd"
    }
    "embedding" {
        "embedding_bwd"
        "embedding_fwd"
    }
    "gated" {
        "gated_bwd"
        "gated_fwd"
    }
    "loss" {
        "softmax_xent"
        "target_loss_bwd"
        "target_loss_fwd"
    }
    "lstm" {
        "lstm_pack_weights"
        "lstm_step_bwd"
        "lstm_step_bwd_subgroup"
        "lstm_step_fwd"
        "lstm_step_fwd_subgroup"
    }
    "matmul" {
        "matmul_coop"
        "matmul_direct"
        "matmul_image"
        "matmul_pack"
        "matmul_subgroup"
        "matmul_tile"
        "matmul_vec"
        "matmul_vec_subgroup"
    }
    "norm" {
        "layer_norm_bwd"
        "layer_norm_bwd_weights"
        "layer_norm_fwd"
        "rms_norm_bwd"
        "rms_norm_bwd_weights"
        "rms_norm_fwd"
    }
    "optim" {
        "adagrad"
        "adam"
        "rmsprop"
        "sgd"
    }
    "pool" {
        "adaptive_avg_pool_bwd"
        "adaptive_avg_pool_fwd"
        "avg_pool"
        "max_pool_bwd"
        "max_pool_fwd"
    }
    "reduce" {
        "grad_norm_finish"
        "grad_norm_partial"
        "sum_all"
        "sum_cols"
    }
    "rope" {
        "rope"
    }
    "rows" {
        "gather_rows"
        "mean_pool_bwd"
        "mean_pool_fwd"
    }
}
