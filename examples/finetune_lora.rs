//! Fine-tunes a model of Hugging Face's by LoRA on labelled texts, and asks the adapter:
//!
//! ```text
//! cargo run --release --example finetune_lora -- all-MiniLM-L6-v2 reviews.csv
//! ```
//!
//! The run folder holds checkpoints, metrics and curves; the best adapter opens in PEFT.

use std::{env, io, time::Duration};

use melos::objectives::Classify;
use melos::train::config::{Budget, DataConfig, Lora, RunConfig, StageConfig};
use melos::train::progress::Lines;

fn main() -> melos::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [base, data] = &arguments[..] else {
        eprintln!("expected a model folder and a csv file");
        std::process::exit(2);
    };
    let stage = StageConfig {
        init: Some(base.clone()),
        lora: Some(Lora::default()),
        lr: 2e-4,
        budget: Budget::Epochs(3.0),
        ..StageConfig::finetune("lora", Classify::default())
    };
    let run = RunConfig {
        stages: vec![stage],
        ..RunConfig::pretrained("reviews", DataConfig::files(data))
    };
    let outcome = melos::fit(run, &mut Lines::new(io::stderr(), Duration::from_secs(5)))?;
    println!("the best adapter: {}", outcome.model()?.display());
    let mut model = melos::open(&outcome.model()?)?;
    for answer in melos::predict(model.as_mut(), ["rarely is a film this good"])? {
        println!("{}: {}", answer.text, answer.label);
    }
    Ok(())
}
