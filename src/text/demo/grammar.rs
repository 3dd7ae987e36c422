//! The grammar of a review.

use super::lexicon::{Lexicon, Words};
use crate::text::rng::Rng;

/// How often a predicate says its polarity by negating the opposite one.
const NEGATED: f64 = 0.12;
/// How often a clause with the opposite polarity goes with an evaluating one.
const CONTRAST: f64 = 0.15;
/// How often a predicate joins two words of one polarity.
const PAIRED: f64 = 0.8;

/// One review of the given verdict. Words and punctuation are separated by single spaces.
pub(super) fn review(lexicon: &Lexicon, positive: bool, rng: &mut Rng) -> String {
    let topic = &lexicon.topics[rng.below(lexicon.topics.len())];
    let mut writer = Writer {
        lexicon,
        topic,
        rng,
    };
    let evaluations = 2 + writer.rng.below(2);
    let asides = writer.rng.below(2);
    let mut sentences = Vec::new();
    sentences.extend((0..evaluations).map(|_| writer.evaluation(positive)));
    sentences.extend((0..asides).map(|_| writer.aside()));
    writer.rng.shuffle(&mut sentences);
    sentences.join(" ")
}

/// The word with its indefinite article.
fn a(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {word}")
}

struct Writer<'a> {
    lexicon: &'a Lexicon,
    topic: &'a Words,
    rng: &'a mut Rng,
}

impl Writer<'_> {
    fn pick<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.rng.below(choices.len())]
    }

    /// A sentence whose main clause has the polarity.
    fn evaluation(&mut self, positive: bool) -> String {
        let main = self.clause(positive);
        if !self.rng.chance(CONTRAST) {
            return main + " .";
        }
        let other = self.clause(!positive);
        match self.rng.below(3) {
            0 => format!("{other} , but {main} ."),
            1 => format!("although {other} , {main} ."),
            _ => format!("{main} , although {other} ."),
        }
    }

    fn subject(&mut self) -> String {
        match self.rng.below(6) {
            0 => "it".into(),
            1 => format!("this {}", self.pick(&["film", "movie", "picture"])),
            2 => format!(
                "{} 's {}",
                self.lexicon.names.draw(self.rng),
                self.lexicon.aspects.draw(self.rng)
            ),
            3 => format!(
                "the {} {}",
                self.lexicon.adjectives.draw(self.rng),
                self.lexicon.aspects.draw(self.rng)
            ),
            _ => format!("the {}", self.lexicon.aspects.draw(self.rng)),
        }
    }

    fn clause(&mut self, positive: bool) -> String {
        let subject = self.subject();
        let negated = self.rng.chance(NEGATED);
        // A negated word of the other polarity says the same.
        let polar = &self.lexicon.polar[usize::from(positive != negated)];
        match self.rng.below(5) {
            0 => {
                let verb = polar.verbs.draw(self.rng);
                if negated {
                    format!("{subject} {} {verb}", self.pick(&["never", "hardly"]))
                } else {
                    format!(
                        "{subject} {} {verb}",
                        self.pick(&["really", "always", "just"])
                    )
                }
            }
            1 => {
                let noun = polar.nouns.draw(self.rng);
                let adjective = polar.adjectives.draw(self.rng);
                let is = if negated { "is not" } else { "is" };
                format!("{subject} {is} {} {noun}", a(adjective))
            }
            _ => {
                let first = polar.adjectives.draw(self.rng);
                let degree = if negated {
                    self.pick(&["not", "hardly", "not at all"])
                } else {
                    self.pick(&["", "", "very", "so", "quite", "rather"])
                };
                let degree = if degree.is_empty() {
                    String::new()
                } else {
                    format!(" {degree}")
                };
                let joined = if self.rng.chance(PAIRED) {
                    format!(
                        "{first} {} {}",
                        if negated { "or" } else { "and" },
                        polar.adjectives.draw(self.rng)
                    )
                } else {
                    first.to_owned()
                };
                format!(
                    "{subject} {}{degree} {joined}",
                    self.pick(&["is", "seems", "feels", "is"])
                )
            }
        }
    }

    /// A sentence that says nothing about the verdict.
    fn aside(&mut self) -> String {
        let Lexicon {
            names,
            verbs,
            adjectives,
            aspects,
            ..
        } = self.lexicon;
        let (name, verb, thing) = (
            names.draw(self.rng),
            verbs.draw(self.rng),
            self.topic.draw(self.rng),
        );
        match self.rng.below(5) {
            0 => format!("{name} {verb} the {} {thing} .", adjectives.draw(self.rng)),
            1 => format!(
                "in it , {name} {verb} {} and {} .",
                a(thing),
                a(self.topic.draw(self.rng))
            ),
            2 => format!(
                "the {} comes from {name} , who {verb} {thing} .",
                aspects.draw(self.rng)
            ),
            3 => format!(
                "we saw it with {} {thing} near the {} .",
                a(adjectives.draw(self.rng)),
                self.topic.draw(self.rng)
            ),
            _ => format!("there is {} , and {name} {verb} it .", a(thing)),
        }
    }
}
