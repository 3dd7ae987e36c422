//! What happens during a run, told as events, and the simple ways to show them. The bars for a
//! terminal are in the command line.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::task::Split;
use crate::objectives::metrics::{self, Form, Metric};
use crate::objectives::scores::Scores;

/// One thing that happened. Serialised, it is a line of `--json` and of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Event<'a> {
    /// A run begins or goes on.
    Run {
        name: &'a str,
        folder: &'a Path,
        units: usize,
    },
    /// Something worth a line: what is being prepared, what was skipped.
    Note { message: &'a str },
    /// A unit begins (`step` = 0) or goes on.
    Start {
        unit: &'a str,
        summary: &'a str,
        parameters: u64,
        step: u64,
        total: u64,
    },
    /// A step was sent to the device.
    Step {
        unit: &'a str,
        step: u64,
        total: u64,
        tokens_per_second: f64,
        /// What is counted, where it is not tokens.
        #[serde(skip)]
        counted: &'static str,
    },
    /// A step's loss arrived.
    Loss {
        unit: &'a str,
        step: u64,
        loss: f32,
        lr: f32,
        /// What else the step says of its answers, by the names of the metrics.
        #[serde(flatten)]
        told: Option<&'a BTreeMap<String, f64>>,
    },
    /// After this step the loss scale of f16 became another.
    LossScale {
        unit: &'a str,
        step: u64,
        loss_scale: f32,
    },
    /// The model was scored.
    Evaluation {
        unit: &'a str,
        step: u64,
        split: Split,
        /// The step whose weights were scored.
        #[serde(skip)]
        scored: u64,
        scores: &'a Scores,
        best: bool,
    },
    /// A checkpoint is on the disk.
    Checkpoint {
        unit: &'a str,
        step: u64,
        path: &'a Path,
    },
    /// A unit is done.
    Finish {
        unit: &'a str,
        step: u64,
        tokens_per_second: f64,
        #[serde(skip)]
        counted: &'static str,
        seconds: f64,
    },
}

/// Shows events. Never fails: a terminal that is gone must not stop a training run.
pub trait Progress {
    /// Takes note of one event.
    fn event(&mut self, event: &Event<'_>);
}

/// Shows nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn event(&mut self, _: &Event<'_>) {}
}

/// One JSON object per line, on any writer.
#[derive(Debug)]
pub struct JsonLines<W>(pub W);

impl<W: Write> Progress for JsonLines<W> {
    fn event(&mut self, event: &Event<'_>) {
        // The loss says the same a little later, and more.
        if matches!(event, Event::Step { .. }) {
            return;
        }
        if let Ok(mut line) = serde_json::to_string(event) {
            line.push('\n');
            // A reader that left (`| head`) does not end the training.
            let written = self.0.write_all(line.as_bytes());
            let _ = written.and_then(|()| self.0.flush());
        }
    }
}

/// What the last steps came to: the loss of the last one, and means of what else some of them say.
#[derive(Debug, Default)]
pub struct Recent {
    loss: Option<f32>,
    told: VecDeque<BTreeMap<String, f64>>,
}

impl Recent {
    /// Steps that a mean is of.
    const STEPS: usize = 10;

    /// Takes note of a step.
    pub fn note(&mut self, loss: f32, told: Option<&BTreeMap<String, f64>>) {
        self.loss = Some(loss);
        if let Some(told) = told {
            self.told.truncate(Self::STEPS - 1);
            self.told.push_front(told.clone());
        }
    }

    /// The same as words, with a space before; nothing where there was no step.
    pub fn text(&self) -> String {
        let Some(loss) = self.loss else {
            return String::new();
        };
        let mut means: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for (name, value) in self.told.iter().flatten() {
            let (sum, count) = means.entry(name).or_default();
            (*sum, *count) = (*sum + value, *count + 1);
        }
        let mut text = format!("  loss {loss:.4}");
        for (name, (sum, count)) in means {
            if let Some(metric) = metrics::find(name) {
                text += &format!(", {}", shown(metric, sum / count as f64));
            }
        }
        text
    }
}

/// Plain lines, one every few seconds while steps go by.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    every: Duration,
    last: Instant,
    recent: Recent,
    began: (Instant, u64),
}

impl<W: Write> Lines<W> {
    /// Writes to `out`, about steps at most once per `every`.
    pub fn new(out: W, every: Duration) -> Self {
        let now = Instant::now();
        Self {
            out,
            every,
            last: now,
            recent: Recent::default(),
            began: (now, 0),
        }
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }
}

impl<W: Write> Progress for Lines<W> {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Loss { loss, told, .. } => self.recent.note(*loss, *told),
            Event::Step {
                unit,
                step,
                total,
                tokens_per_second,
                counted,
            } => {
                if self.last.elapsed() < self.every && step != total {
                    return;
                }
                self.last = Instant::now();
                let (began, from) = self.began;
                let each = began.elapsed().div_f64((step - from).max(1) as f64);
                let left = each.mul_f64((total - step) as f64);
                let recent = self.recent.text();
                self.line(&format!(
                    "{unit}  step {step}/{total}{recent}  {} {counted}/s  ETA {}",
                    thousands(*tokens_per_second),
                    clock(left)
                ));
            }
            other => {
                if let Event::Start { step, .. } = other {
                    self.began = (Instant::now(), *step);
                    self.last = Instant::now();
                    self.recent = Recent::default();
                }
                if let Some(text) = sentence(other) {
                    self.line(&text);
                }
            }
        }
    }
}

/// An event as a line of text, where it deserves one.
pub fn sentence(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Run {
            name,
            folder,
            units,
        } => {
            format!(
                "{name}: {units} {} → {}",
                if *units == 1 { "stage" } else { "stage runs" },
                folder.display()
            )
        }
        Event::Note { message } => message.to_string(),
        Event::Start {
            unit,
            summary,
            parameters,
            step,
            total,
        } => {
            let from = match step {
                0 => String::new(),
                _ => format!(", resumed at step {step}"),
            };
            format!(
                "{unit}: {summary}, {} parameters, {total} steps{from}",
                thousands(*parameters as f64)
            )
        }
        Event::Evaluation {
            unit,
            step,
            split,
            scored,
            scores,
            best,
        } => {
            let split = match split {
                Split::Test => "test",
                _ => "validation",
            };
            let mark = if *best { "  (best so far)" } else { "" };
            let of = match scored == step {
                true => String::new(),
                false => format!(" of checkpoint-{scored}"),
            };
            format!("{unit}  step {step}  {split}{of}: {}{mark}", brief(scores))
        }
        Event::Finish {
            unit,
            tokens_per_second,
            counted,
            seconds,
            ..
        } => format!(
            "{unit} done in {}, {} {counted}/s",
            clock(Duration::try_from_secs_f64(*seconds).unwrap_or_default()),
            thousands(*tokens_per_second)
        ),
        Event::Step { .. }
        | Event::Loss { .. }
        | Event::LossScale { .. }
        | Event::Checkpoint { .. } => return None,
    })
}

/// Scores on one line.
pub fn brief(scores: &Scores) -> String {
    let mut text = format!("loss {:.4}", scores.loss);
    for (metric, value) in scores.told() {
        if metric.name == "loss" {
            continue;
        }
        text += &format!(", {}", shown(metric, value));
    }
    text
}

/// A metric's title and value.
fn shown(metric: &Metric, value: f64) -> String {
    let unit = if metric.form == Form::Percent {
        " %"
    } else {
        ""
    };
    let name = metric.title.trim_end_matches(" %");
    format!("{name} {}{unit}", metric.shown(value))
}

/// 12345.6 as "12,346".
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A duration as "0:45", "12:03" or "3:07:00".
pub fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// Whether a person watches: standard error is a terminal.
pub fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steps_say_is_a_mean_of_the_last_ones() {
        let mut recent = Recent::default();
        assert_eq!(recent.text(), "");
        recent.note(2.0, None);
        assert_eq!(recent.text(), "  loss 2.0000");
        let told = |accuracy: f64, margin: Option<f64>| {
            let margin = margin.map(|m| ("reward_margin".to_string(), m));
            let all = [("reward_accuracy".to_string(), accuracy)];
            all.into_iter().chain(margin).collect::<BTreeMap<_, _>>()
        };
        for _ in 0..40 {
            recent.note(1.0, Some(&told(0.0, None)));
        }
        for step in 1..=8 {
            recent.note(0.5, Some(&told(1.0, (step > 6).then_some(f64::from(step)))));
        }
        let text = recent.text();
        assert!(
            text.starts_with("  loss 0.5000, reward accuracy 80"),
            "{text}"
        );
        assert!(text.contains("reward margin 7.5"), "{text}");
        let event = Event::Loss {
            unit: "a",
            step: 1,
            loss: 0.5,
            lr: 0.25,
            told: Some(&told(0.5, None)),
        };
        let line = serde_json::to_value(&event).unwrap();
        assert_eq!(
            (&line["event"], &line["reward_accuracy"]),
            (&"loss".into(), &0.5.into())
        );
    }

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1234567.0), "1,234,567");
        assert_eq!(clock(Duration::from_secs(45)), "0:45");
        assert_eq!(clock(Duration::from_secs(11_220)), "3:07:00");
    }

    #[test]
    fn a_test_says_which_checkpoint_was_scored() {
        let scores = Scores::mean(1.5, 3).unwrap();
        let said = |scored| {
            let event = Event::Evaluation {
                unit: "a",
                step: 770,
                split: Split::Test,
                scored,
                scores: &scores,
                best: false,
            };
            let json = serde_json::to_string(&event).unwrap();
            assert!(!json.contains("scored"), "{json}");
            sentence(&event).unwrap()
        };
        assert_eq!(
            said(440),
            "a  step 770  test of checkpoint-440: loss 0.5000"
        );
        assert_eq!(said(770), "a  step 770  test: loss 0.5000");
    }

    #[test]
    fn json_lines_leave_steps_out() {
        let mut out = JsonLines(Vec::new());
        out.event(&Event::Step {
            unit: "a",
            step: 1,
            total: 2,
            tokens_per_second: 1.0,
            counted: "tokens",
        });
        out.event(&Event::Loss {
            unit: "a",
            step: 1,
            loss: 0.5,
            lr: 0.25,
            told: None,
        });
        assert_eq!(
            String::from_utf8(out.0).unwrap(),
            "{\"event\":\"loss\",\"unit\":\"a\",\"step\":1,\"loss\":0.5,\"lr\":0.25}\n"
        );
    }

    #[test]
    fn lines_come_now_and_then_and_at_the_end() {
        let mut out = Lines::new(Vec::new(), Duration::from_secs(3600));
        out.event(&Event::Start {
            unit: "a",
            summary: "toy",
            parameters: 1200,
            step: 0,
            total: 3,
        });
        for step in 1..=3 {
            out.event(&Event::Loss {
                unit: "a",
                step,
                loss: 0.5,
                lr: 0.1,
                told: None,
            });
            out.event(&Event::Step {
                unit: "a",
                step,
                total: 3,
                tokens_per_second: 1234.0,
                counted: "tokens",
            });
        }
        let text = String::from_utf8(out.out).unwrap();
        assert_eq!(
            text,
            "a: toy, 1,200 parameters, 3 steps\na  step 3/3  loss 0.5000  1,234 tokens/s  ETA 0:00\n"
        );
    }
}
