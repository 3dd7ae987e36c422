//! Reads a LoRA adapter of PEFT's, places it on its base model, doubles what it does, and writes it
//! as PEFT would:
//!
//! ```text
//! cargo run --release --example rewrite_adapter -- BASE ADAPTER OUT
//! ```

use std::path::Path;

use melos::hub::{self, adapter};
use melos::models;

fn main() -> melos::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, lora, out] = &arguments[..] else {
        eprintln!("expected BASE ADAPTER OUT");
        std::process::exit(2);
    };
    let base = models::open(Path::new(base))?;
    let lora = adapter::read(Path::new(lora))?;
    let adapted = adapter::adapt(&base, &lora)?;
    print!("{}", adapted.report);

    let mut weights = adapted.weights;
    for update in &mut weights.updates {
        let doubled: Vec<f32> = update.b.values().iter().map(|x| 2.0 * x).collect();
        if let Some(b) = hub::Array::new(update.b.shape(), doubled) {
            update.b = b;
        }
    }
    println!(
        "{} layers, {} numbers",
        weights.updates.len(),
        weights.elements()
    );
    adapter::save(Path::new(out), &lora.config, &adapted.layout, &weights)
}
