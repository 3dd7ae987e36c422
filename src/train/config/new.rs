//! Runs that a Rust program makes: everything that is not given is as in a run file that does not
//! say it.

use std::path::PathBuf;

use super::{
    Budget, DataConfig, DemoSizes, ImagesConfig, ModelConfig, OptimizerKind, Part, Precision,
    PretrainedModel, RunConfig, Source, StageConfig, StageKind, TextChoice, TokenizerConfig,
};
use crate::objectives::AnyObjective;
use crate::optim::schedule::Schedule;

impl DataConfig {
    /// Data of this kind, with everything else by default.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            path: Default::default(),
            test: None,
            unlabelled: Vec::new(),
            text_column: None,
            pair_column: None,
            image_column: None,
            label_column: None,
            sentence_end: None,
            one_text: None,
            validation: 0.1,
            test_share: 0.1,
            demo: DemoSizes::default(),
        }
    }

    /// Texts in a csv, tsv, jsonl or txt file.
    pub fn files(path: impl Into<PathBuf>) -> DataConfig {
        DataConfig {
            path: path.into().into(),
            ..DataConfig::new(Source::Files)
        }
    }
}

impl RunConfig {
    /// A run of a model on data, without stages yet. `name` names its folder.
    pub fn new(name: &str, model: ModelConfig, data: DataConfig) -> RunConfig {
        RunConfig {
            name: name.to_string(),
            description: String::new(),
            seed: 1,
            memory_limit: None,
            tokenizer: TokenizerConfig::default(),
            images: ImagesConfig::default(),
            model,
            data,
            stages: Vec::new(),
        }
    }

    /// A run of the model in the folder that each stage's `init` names.
    pub fn pretrained(name: &str, data: DataConfig) -> RunConfig {
        RunConfig::new(
            name,
            ModelConfig::Pretrained(PretrainedModel::default()),
            data,
        )
    }
}

impl StageConfig {
    /// A stage that learns from text without labels.
    pub fn pretrain(name: &str, objective: impl Into<AnyObjective>) -> StageConfig {
        StageConfig::new(name, StageKind::Pretrain, objective)
    }

    /// A stage that learns labels.
    pub fn finetune(name: &str, objective: impl Into<AnyObjective>) -> StageConfig {
        StageConfig::new(name, StageKind::Finetune, objective)
    }

    /// A stage of this kind.
    pub fn new(name: &str, kind: StageKind, objective: impl Into<AnyObjective>) -> StageConfig {
        StageConfig {
            name: name.to_string(),
            kind,
            objective: objective.into(),
            init: None,
            transfer: vec![Part::Embedding, Part::Lstm],
            text: TextChoice::default(),
            seeds: Vec::new(),
            folds: None,
            run_folds: None,
            train_texts: None,
            lr: 1e-3,
            batch: 32,
            clip_norm: None,
            eval_every: None,
            metric: None,
            patience: None,
            save_every: None,
            keep: 2,
            budget: Budget::default(),
            optimizer: OptimizerKind::default(),
            ema: None,
            schedule: Schedule::default(),
            dropout: None,
            accumulate: 1,
            precision: Precision::default(),
            checkpointing: false,
            freeze: None,
            layer_decay: None,
            rates: Default::default(),
            unfreeze_every: None,
            lora: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::OBJECTIVES;
    use crate::train::config::Overrides;

    /// What a run file says that leaves everything out.
    #[test]
    fn what_is_not_given_is_as_in_a_run_file() {
        for objective in OBJECTIVES {
            let objective = objective.standard();
            let kind = if objective.is_supervised() {
                StageKind::Finetune
            } else {
                StageKind::Pretrain
            };
            let mut stage = StageConfig::new("one", kind, objective);
            stage.init = Some("./somewhere".into());
            let mut run = RunConfig::pretrained("mine", DataConfig::files("x.csv"));
            run.stages = vec![stage.clone()];
            let text = format!(
                "name = \"mine\"\n[model]\nkind = \"pretrained\"\n[data]\nsource = \"files\"\n\
                 path = \"x.csv\"\n[[stage]]\nname = \"one\"\nkind = \"{}\"\nobjective = \"{}\"\n\
                 init = \"./somewhere\"\n",
                if kind == StageKind::Finetune {
                    "finetune"
                } else {
                    "pretrain"
                },
                stage.objective.name()
            );
            // Joint training needs to be told what is learned beside the label.
            if stage.objective.check().is_ok() {
                let read = RunConfig::parse(&text, "test", &Overrides::default()).unwrap();
                assert_eq!(read, run, "{}", stage.objective.name());
            }
        }
    }
}
