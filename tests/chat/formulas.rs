//! The losses of preferences, of given log-probabilities: a network that says nothing of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use melos::device::Gpu;
use melos::error::Result;
use melos::models::{CausalLm, Network, Pretrained, Tokens, Writer};
use melos::objectives::AnyObjective;
use melos::objectives::batch::Batch;
use melos::objectives::criterion::{Criterion, Purpose, Setup, ToCome};
use melos::objectives::feed::Feed;
use melos::ops::RowSelection;
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};
use melos::text::chat::{self, Encoder, Kind, Learn};
use melos::text::{Source, Tokenizer};
use melos::train::config::{Overrides, RunConfig};
use serde_json::{Value, json};

use super::folder;
use super::preferences::{near, numbers, preferences, workplace};
use crate::common;

/// Says of the tokens of a batch what it was told, one batch after the other and then again.
struct Told(Mutex<VecDeque<Tensor>>);

impl Network for Told {
    fn as_causal_lm(&self) -> Option<&dyn CausalLm> {
        Some(self)
    }
}

impl CausalLm for Told {
    fn logits(&self, _: &Tape, _: &Tokens<'_>, _: &RowSelection) -> Result<Tensor> {
        unreachable!()
    }

    fn smoothed_loss(&self, _: &Tape, _: &Tokens<'_>, _: [&Tensor; 2], _: f32) -> Result<Tensor> {
        unreachable!()
    }

    fn token_losses(&self, _: &Tape, _: &Tokens<'_>, _: &Tensor) -> Result<Tensor> {
        let mut told = self.0.lock().unwrap();
        told.rotate_left(1);
        Ok(told.back().unwrap().clone())
    }

    fn writer<'a>(&'a self, _: &Gpu, _: usize, _: usize) -> Result<Box<dyn Writer + 'a>> {
        unreachable!()
    }
}

/// Four prompts of a token each, whose answers have as many tokens as the fixture says, their end with them.
fn rows(lengths: &[[usize; 2]], kind: Kind) -> Vec<Value> {
    let row = |(at, [chosen, rejected]): (usize, &[usize; 2])| match kind {
        Kind::Judged => {
            json!({"prompt": "x", "completion": "a".repeat(chosen - 1), "label": at % 2 == 0})
        }
        _ => {
            let (chosen, rejected) = ("a".repeat(chosen - 1), "b".repeat(rejected - 1));
            json!({"prompt": "x", "chosen": chosen, "rejected": rejected})
        }
    };
    lengths.iter().enumerate().map(row).collect()
}

fn criterion(objective: &AnyObjective, lengths: &[[usize; 2]]) -> Box<dyn Criterion> {
    let kind = objective.conversation().unwrap().kind;
    let own = workplace(&rows(lengths, kind));
    let tokenizer = Tokenizer::open(own.path().join("model")).unwrap();
    let encoder = Encoder {
        tokenizer: &tokenizer,
        template: None,
        learn: Learn::Assistant,
        key: "template",
    };
    let source = Source::new(own.path().join("rows.jsonl"));
    let (documents, chats) = chat::read(&[source], kind, &encoder).unwrap();
    let setup = Setup {
        documents: Arc::new(documents),
        tagged: None,
        pictures: None,
        chats: Some(Arc::new(chats)),
        tokenizer: Arc::new(tokenizer),
        config: Pretrained::open(&own.path().join("model"), None)
            .unwrap()
            .config,
        labels: None,
        batch: lengths.len(),
        seed: 1,
    };
    objective.criterion(setup).unwrap()
}

/// Cross entropies of tokens that add up, in the targets of each row, to what is said of the row.
fn told(gpu: &Gpu, batch: &Batch, name: &str, rows: &[f64]) -> Tensor {
    let targets = batch.answers(name).unwrap().as_classes();
    let time = targets.len() / rows.len();
    let mut values = vec![0.0f32; targets.len()];
    for (row, (own, said)) in targets.chunks(time).zip(rows).enumerate() {
        let count = own.iter().filter(|target| **target >= 0).count();
        for (at, _) in own.iter().enumerate().filter(|(_, target)| **target >= 0) {
            values[row * time + at] = (-said / count as f64) as f32;
        }
    }
    let zeros = Tensor::from_slice(gpu, [values.len()], &vec![0.0f32; values.len()]).unwrap();
    let tensor = Tensor::from_slice(gpu, [values.len()], &values).unwrap();
    tensor.with_grad(zeros)
}

/// What is said of the rows of each array of a batch: of a pair's in one, of judged answers' in two.
fn all_told(gpu: &Gpu, batch: &Batch, said: &[Vec<f64>]) -> VecDeque<Tensor> {
    let column = |at: usize| said.iter().map(move |row| row[at]);
    match batch.answers("other_targets") {
        None => {
            let rows: Vec<f64> = column(0).chain(column(1)).collect();
            [told(gpu, batch, "targets", &rows)].into()
        }
        Some(_) => {
            let [own, others] = [0, 1].map(|at| column(at).collect::<Vec<f64>>());
            let own = told(gpu, batch, "targets", &own);
            [own, told(gpu, batch, "other_targets", &others)].into()
        }
    }
}

#[test]
fn losses_rewards_and_gradients_are_trls() {
    let gpu = common::gpu();
    let fixture = &preferences()["formulas"];
    let list = |name: &str| -> Vec<Vec<f64>> {
        let rows = fixture[name].as_array().unwrap();
        rows.iter().map(numbers).collect()
    };
    let (now, before) = (list("now"), list("before"));
    let lengths = list("lengths");
    let lengths: Vec<[usize; 2]> = lengths
        .iter()
        .map(|row| [row[0] as usize, row[1] as usize])
        .collect();
    let docs: Vec<u32> = (0..lengths.len() as u32).collect();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let objective = case["objective"].as_str().unwrap();
        let what = format!("{objective} {}", case["options"]);
        let options: toml::Table = serde_json::from_value(case["options"].clone()).unwrap();
        let objective = read(objective, &options);
        let criterion = criterion(&objective, &lengths);
        let mut batches = criterion.batches(&docs, Purpose::Scoring).unwrap();
        let batch = batches.next(1, 1);
        assert_eq!(batches.per_epoch(), 1);
        let network = Told(Mutex::new(all_told(&gpu, &batch, &before)));
        let to_come = ToCome {
            docs: &docs,
            purpose: Purpose::Scoring,
            batches: u64::MAX,
        };
        let folder = tempfile::tempdir().unwrap();
        criterion
            .begin(&gpu, &network, &[to_come], folder.path())
            .unwrap();

        // A batch that is made from here on knows what was said before.
        let batch = criterion
            .batches(&docs, Purpose::Scoring)
            .unwrap()
            .next(1, 1);
        let said = all_told(&gpu, &batch, &now);
        *network.0.lock().unwrap() = said.clone();
        let feed = Feed::new(&gpu, &batch, Vec::new()).unwrap();
        feed.write(&batch, std::slice::from_ref(&batch)).unwrap();
        let state = StepState::new(&gpu, 1).unwrap();
        let tape = Tape::training(&gpu, state.tensor());
        let (loss, learned) = criterion.learn(&tape, &network, &feed).unwrap();
        tape.backward(&loss).unwrap();
        let wanted = case["loss"].as_f64().unwrap();
        near(
            f64::from(loss.to_vec::<f32>().unwrap()[0]),
            wanted,
            2e-6 * wanted.abs(),
            &what,
        );

        // Of each row all targets have the row's gradient, but of a cross entropy.
        let gradients: Vec<Vec<f64>> = case["gradients"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        let largest = gradients
            .iter()
            .flatten()
            .fold(0.0, |a: f64, b| a.max(b.abs()));
        let names = ["targets", "other_targets"];
        for (part, (tensor, name)) in said.iter().zip(names).enumerate() {
            let grad = tensor.grad().unwrap().to_vec::<f32>().unwrap();
            let targets = batch.answers(name).unwrap().as_classes();
            let time = batch.length;
            for (at, (found, _)) in grad
                .iter()
                .zip(targets)
                .enumerate()
                .filter(|(_, (_, t))| **t >= 0)
            {
                let row = at / time;
                let (doc, column) = (row % lengths.len(), row / lengths.len() + part);
                near(
                    f64::from(*found),
                    -gradients[doc][column],
                    1e-5 * largest,
                    &what,
                );
            }
        }

        let outputs = criterion
            .outputs(&Tape::inference(&gpu), &network, &feed)
            .unwrap();
        let mut tally = criterion.tally();
        tally.add(&batch, &outputs).unwrap();
        let scores = tally.scores().unwrap();
        // What a step says while it trains is the same.
        let host = |t: &Tensor| t.to_vec::<f32>().unwrap();
        let step = [(batch.docs.clone(), learned.iter().map(host).collect())];
        assert_eq!(
            criterion.told(&step).unwrap().unwrap().metrics,
            scores.metrics,
            "{what}"
        );
        near(scores.loss, wanted, 2e-6 * wanted.abs(), &what);
        let rewards = numbers(&case["rewards"]);
        let mean = |at: usize| {
            let own: Vec<f64> = rewards.iter().skip(at).step_by(2).copied().collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        for (name, wanted) in [
            ("reward_chosen", mean(0)),
            ("reward_rejected", mean(1)),
            ("reward_margin", mean(0) - mean(1)),
        ] {
            near(
                scores.value(name).unwrap(),
                wanted,
                2e-6 * wanted.abs().max(1.0),
                &format!("{what}, {name}"),
            );
        }
        let right = rewards.chunks(2).map(|pair| match said.len() {
            1 => f64::from(u8::from(pair[0] > pair[1])),
            _ => {
                f64::from(u8::from(pair[0] > 0.0)) / 2.0 + f64::from(u8::from(pair[1] < 0.0)) / 2.0
            }
        });
        let right = right.sum::<f64>() / (rewards.len() / 2) as f64;
        near(
            scores.value("reward_accuracy").unwrap(),
            right,
            1e-12,
            &what,
        );
    }
}

/// An objective with these options.
fn read(name: &str, options: &toml::Table) -> AnyObjective {
    let text = format!(
        "name = \"x\"\ndata = {{ source = \"files\", path = \"x\" }}\nmodel = {{ kind = \"pretrained\" }}\n\
         [[stage]]\nname = \"s\"\nkind = \"finetune\"\nobjective = \"{name}\"\ninit = \"{}\"\n{options}",
        folder().join("model").display()
    );
    let config = RunConfig::parse(&text, "run.toml", &Overrides::default()).unwrap();
    config.stages[0].objective.clone()
}
