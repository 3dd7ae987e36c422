//! What a unit's evaluations warn of, once it is done.

use super::config::{Budget, StageConfig, StageKind};
use super::stats::wilson;
use crate::objectives::evidence::Asked;
use crate::objectives::scores::Scores;

/// Half the width of an interval of the error that is too wide to choose by.
const WIDE: f64 = 0.05;

/// Texts by which other metrics choose no better.
const FEW: u64 = 50;

/// A perplexity that falls by more than this share between evaluations is still falling fast.
const FAST: f64 = 0.05;

/// Names that are told of many.
const NAMES: usize = 5;

/// A unit that is done.
pub struct Done<'a> {
    /// Its stage.
    pub stage: &'a StageConfig,
    /// Its evaluations on validation texts, in order.
    pub evaluations: &'a [(f64, Scores)],
    /// Its training losses, in order.
    pub losses: &'a [f64],
    /// Scores of its model, and of which part of the texts.
    pub scores: Option<(&'static str, &'a Scores)>,
    /// Whether it ended for want of patience.
    pub stopped_early: bool,
}

impl Done<'_> {
    /// Warnings, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.scores.and_then(never_said).into_iter().collect();
        all.extend(self.few_texts());
        all.extend(match self.stage.kind {
            StageKind::Pretrain => self.falls_fast(),
            StageKind::Finetune => self.best_at_the_end(),
            StageKind::Evaluate => None,
        });
        all
    }

    /// Validation that cannot tell the evaluations apart.
    fn few_texts(&self) -> Option<String> {
        if self.stage.kind != StageKind::Finetune || self.evaluations.len() < 2 {
            return None;
        }
        let best = self.best()?;
        let metric = best.metric()?;
        let known = "take a larger data.validation, or folds, or trust the choice little";
        let Some(error) = best.value("error") else {
            let few = best.examples < FEW;
            let of = metric.title;
            let message = format!(
                "only {} validation texts: {of} says little of so few; {known}",
                best.examples
            );
            return few.then_some(message);
        };
        let right = ((1.0 - error) * best.examples as f64).round() as u64;
        let half = wilson(right, best.examples)?.half_width();
        let within = |s: &&(f64, Scores)| {
            let other = s.1.value("error");
            other.is_some_and(|other| (other - error).abs() <= half)
        };
        // The best is within its own.
        let alike = self.evaluations.iter().filter(within).count();
        (half > WIDE && alike > 1).then(|| {
            format!(
                "only {} validation answers: their error is known to ± {:.1} % (95 %), and {alike} of {} evaluations are as good within that; {known}",
                best.examples,
                100.0 * half,
                self.evaluations.len()
            )
        })
    }

    fn best(&self) -> Option<&Scores> {
        let by = |a: &&Scores, b: &&Scores| {
            let ([a, a_tie], [b, b_tie]) = (a.to_minimise(), b.to_minimise());
            a.total_cmp(&b).then(a_tie.total_cmp(&b_tie))
        };
        self.evaluations.iter().map(|(_, scores)| scores).min_by(by)
    }

    /// A best that was the last, and better by the metric itself.
    fn best_at_the_end(&self) -> Option<String> {
        let [before @ .., (step, last)] = self.evaluations else {
            return None;
        };
        let metric = last.metric()?;
        let value = last.value(metric.name)?;
        let worse = |(_, scores): &(f64, Scores)| match scores.value(metric.name) {
            Some(other) if metric.higher_is_better => other < value,
            Some(other) => other > value,
            None => true,
        };
        let grows = !before.is_empty() && before.iter().all(worse) && !self.stopped_early;
        grows.then(|| {
            format!(
                "the best evaluation was the last (step {step}): training longer may do better ({})",
                self.longer()
            )
        })
    }

    /// A pretraining whose perplexity was still falling fast when it ended.
    fn falls_fast(&self) -> Option<String> {
        let (before, now, what) = match self.evaluations {
            [.., (_, before), (_, last)] => {
                (before.loss, last.loss, "between the last evaluations")
            }
            _ => {
                let quarter = self.losses.len() / 4;
                let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
                let rest = self.losses.get(self.losses.len() - 2 * quarter..)?;
                let (third, last) = rest.split_at_checked(quarter).filter(|_| quarter > 0)?;
                (
                    mean(third),
                    mean(last),
                    "over the last quarter of the steps",
                )
            }
        };
        let share = 1.0 - (now - before).exp();
        (share > FAST).then(|| {
            format!(
                "perplexity still fell by {:.0} % {what}: this pretraining has not paid yet, train it longer ({})",
                100.0 * share,
                self.longer()
            )
        })
    }

    /// Twice the budget.
    fn longer(&self) -> String {
        let name = &self.stage.name;
        let (key, value) = match self.stage.budget {
            Budget::Steps(steps) => ("steps", steps.saturating_mul(2).to_string()),
            Budget::Tokens(tokens) => ("tokens", tokens.saturating_mul(2).to_string()),
            Budget::Epochs(epochs) => ("epochs", (2.0 * epochs).to_string()),
        };
        format!("--resume RUN --set stage.{name}.budget.{key}={value}")
    }
}

/// Classes that are there and that nothing was taken for.
fn never_said((part, scores): (&str, &Scores)) -> Option<String> {
    let classes = scores.classes.as_ref()?;
    let each = (classes.names.iter().zip(&classes.support)).zip(&classes.predicted);
    let never: Vec<String> = each
        .filter(|((_, there), said)| **there > 0 && **said == 0)
        .map(|((name, there), _)| format!("'{name}' (there {there} times)"))
        .collect();
    let more = match never.len() {
        0 => return None,
        count if count > NAMES => format!(" and {} more", count - NAMES),
        _ => String::new(),
    };
    let names = never[..never.len().min(NAMES)].join(", ");
    Some(match scores.asked {
        Some(Asked::Labels) => format!(
            "no {part} text is given the label {names}{more}: none is more likely than not; train longer, or on more \
             texts that have them"
        ),
        _ => format!(
            "on the {part} texts nothing is taken for {names}{more}; train longer, or weigh rare classes more \
             (class_weights = \"balanced\")"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::evidence::Evidence;
    use crate::objectives::{Classify, Clm};

    fn errors(wrong: &[u64], of: u64) -> Vec<(f64, Scores)> {
        let scores = |wrong: u64| vec![vec![of / 2 - wrong, wrong], vec![0, of / 2]];
        let each = wrong.iter().zip(1..);
        each.map(|(w, step)| {
            (
                f64::from(step),
                Scores::classifier(1.0, scores(*w)).unwrap(),
            )
        })
        .collect()
    }

    fn warned(evaluations: &[(f64, Scores)], losses: &[f64], stage: &StageConfig) -> Vec<String> {
        let done = Done {
            stage,
            evaluations,
            losses,
            scores: None,
            stopped_early: false,
        };
        done.warnings()
    }

    #[test]
    fn a_best_that_was_the_last_asks_for_more() {
        let stage = StageConfig::finetune("cls", Classify::default());
        let rising = warned(&errors(&[300, 200, 100], 1000), &[], &stage);
        assert_eq!(rising.len(), 1, "{rising:?}");
        let command = "--resume RUN --set stage.cls.budget.epochs=2)";
        assert!(
            rising[0].contains("the last (step 3)") && rising[0].ends_with(command),
            "{rising:?}"
        );
        for enough in [&[300, 100, 200][..], &[300, 100, 100], &[100]] {
            assert!(
                warned(&errors(enough, 1000), &[], &stage).is_empty(),
                "{enough:?}"
            );
        }
    }

    #[test]
    fn few_texts_choose_by_chance() {
        let stage = StageConfig::finetune("cls", Classify::default());
        let few = warned(&errors(&[8, 3, 4], 40), &[], &stage);
        // Wilson's interval of 3 of 40 is 2.58 to 19.86 %.
        let told = "only 40 validation answers: their error is known to ± 8.6 % (95 %), and 2 of 3";
        assert!(few.len() == 1 && few[0].starts_with(told), "{few:?}");
        assert!(warned(&errors(&[80, 30, 40], 400), &[], &stage).is_empty());
    }

    #[test]
    fn a_pretraining_that_still_falls_is_told() {
        let stage = StageConfig::pretrain("clm", Clm::default());
        let of = |loss: f64| Scores::language(10.0 * loss, 10).unwrap();
        let fast = warned(&[(10.0, of(5.0)), (20.0, of(4.0))], &[], &stage);
        assert!(
            fast[0].starts_with("perplexity still fell by 63 % between"),
            "{fast:?}"
        );
        assert!(warned(&[(10.0, of(4.02)), (20.0, of(4.0))], &[], &stage).is_empty());
        // One evaluation: by the losses of training.
        let losses = |by: f64| (0..40).map(|n| 5.0 - by * f64::from(n)).collect::<Vec<_>>();
        let fast = warned(&[(40.0, of(4.0))], &losses(0.05), &stage);
        assert!(
            fast[0].contains("by 39 % over the last quarter"),
            "{fast:?}"
        );
        assert!(warned(&[(40.0, of(4.0))], &losses(0.001), &stage).is_empty());
        assert!(warned(&[], &[], &stage).is_empty());
    }

    #[test]
    fn a_class_that_nothing_is_taken_for_is_named() {
        let stage = StageConfig::finetune("cls", Classify::default());
        let scores =
            Scores::classifier(1.0, vec![vec![0, 3, 0], vec![0, 7, 0], vec![0; 3]]).unwrap();
        let done = Done {
            stage: &stage,
            evaluations: &[],
            losses: &[],
            scores: Some(("test", &scores)),
            stopped_early: false,
        };
        let warnings = done.warnings();
        // The third is not there either.
        let told = "on the test texts nothing is taken for '0' (there 3 times); ";
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(told),
            "{warnings:?}"
        );
    }

    #[test]
    fn of_several_labels_one_that_no_text_is_given_is_named() {
        let stage = StageConfig::finetune("cls", Classify::default());
        // Of four texts: the first label is given wrongly, the second never, the third is nowhere.
        let truth = [
            [true, true, false],
            [false, true, false],
            [true, false, false],
            [false; 3],
        ];
        let said = [[false; 3], [true, false, false], [false; 3], [false; 3]];
        let each = truth.into_iter().zip(said);
        let each = each.map(|(truth, said)| truth.into_iter().zip(said).collect::<Vec<_>>());
        let evidence = Evidence::labels(1.0, 3, each);
        let names = ["a", "b", "c"].map(String::from);
        let scores = Scores::of(evidence, &names).unwrap();
        let done = Done {
            stage: &stage,
            evaluations: &[],
            losses: &[],
            scores: Some(("validation", &scores)),
            stopped_early: false,
        };
        let warnings = done.warnings();
        let told = "no validation text is given the label 'b' (there 2 times): ";
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(told),
            "{warnings:?}"
        );
        assert!(!warnings[0].contains("class_weights"), "{warnings:?}");
    }
}
