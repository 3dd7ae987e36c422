//! The words of the demo language and how often each is used.

use std::collections::HashSet;

use crate::text::rng::Rng;

/// Words with Zipf-Mandelbrot frequencies: the one of rank r is used in proportion to
/// 1 / (r + flat)^exponent.
pub(super) struct Words {
    words: Vec<String>,
    cumulative: Vec<f64>,
}

impl Words {
    fn new(words: Vec<String>, flat: f64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weight = |rank| (rank as f64 + flat).powf(-exponent);
        let cumulative = (1..=words.len()).map(|rank| {
            sum += weight(rank);
            sum
        });
        Self {
            cumulative: cumulative.collect(),
            words,
        }
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> &str {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let at = rng.unit() * total;
        let place = self.cumulative.partition_point(|&sum| sum <= at);
        &self.words[place.min(self.words.len() - 1)]
    }
}

/// What one polarity has to say.
pub(super) struct Polar {
    pub(super) adjectives: Words,
    pub(super) nouns: Words,
    pub(super) verbs: Words,
}

pub(super) struct Lexicon {
    /// Negative, positive.
    pub(super) polar: [Polar; 2],
    /// What a review speaks of, one list a genre.
    pub(super) topics: Vec<Words>,
    /// Aspects of a film: acting, plot, ...
    pub(super) aspects: Words,
    pub(super) adjectives: Words,
    pub(super) verbs: Words,
    pub(super) names: Words,
}

const BAD: &str = "bad dull boring awful poor weak tedious bland lifeless clumsy terrible flat \
    stale shallow predictable messy lazy empty forced hollow";
const GOOD: &str = "good great fine moving brilliant funny gripping fresh charming clever superb \
    warm lovely rich honest witty bold tender vivid graceful";
const BAD_NOUNS: &str = "mess bore failure disaster waste letdown chore muddle flop blunder";
const GOOD_NOUNS: &str = "triumph delight gem treat joy marvel success wonder pleasure masterpiece";
const BAD_VERBS: &str =
    "drags disappoints bores fails stumbles annoys sinks irritates fizzles collapses";
const GOOD_VERBS: &str =
    "shines delights works soars charms succeeds dazzles sparkles glows triumphs";
const ASPECTS: &str = "acting plot script music ending cast story dialogue direction pacing lead \
    editing camera opening finale humour romance soundtrack writing premise staging chemistry \
    scenery narration villain hero costume lighting tone climax middle performance idea";
const ADJECTIVES: &str = "long short second final new old quiet early late french young other main \
    small large slow whole recent foreign silent modern single central local";
const VERBS: &str = "follows meets visits leaves finds watches joins hides carries calls enters \
    builds sells paints writes opens buys keeps draws crosses";

const ONSETS: &str =
    "b br c cl d dr f fl g gl gr h j k l m n p pl pr qu r s sc sk sl st t tr v w z";
const VOWELS: &str = "a e i o u ai ea ou";
const CODAS: &str = "l n r s t m rd nt st ck";

/// Makes words that no one has used yet.
struct Maker {
    rng: Rng,
    used: HashSet<String>,
}

impl Maker {
    fn pick<'a>(&mut self, list: &'a str) -> &'a str {
        let parts: Vec<&str> = list.split_whitespace().collect();
        parts[self.rng.below(parts.len())]
    }

    fn stem(&mut self) -> String {
        let syllables = 1 + self.rng.below(2);
        let mut stem = String::new();
        for _ in 0..syllables {
            stem += self.pick(ONSETS);
            stem += self.pick(VOWELS);
        }
        stem + self.pick(CODAS)
    }

    /// The known words, then made-up ones with one of the endings, `count` in all.
    fn list(&mut self, known: &str, endings: &str, count: usize) -> Vec<String> {
        let mut words: Vec<String> = known.split_whitespace().map(str::to_owned).collect();
        self.used.extend(words.iter().cloned());
        while words.len() < count {
            let word = self.stem() + self.pick(endings).trim_matches('-');
            if self.used.insert(word.clone()) {
                words.push(word);
            }
        }
        words
    }
}

/// Endings are the same for both polarities.
const ADJECTIVE_ENDINGS: &str = "ous ish ful ly ic y ed ent";
const NOUN_ENDINGS: &str = "er ion ade et ance - or";
const VERB_ENDINGS: &str = "s es ates ens izes";

impl Lexicon {
    pub(super) fn new() -> Self {
        let mut maker = Maker {
            rng: Rng::new(0, &[0x1E7]),
            used: HashSet::new(),
        };
        let known = [
            BAD, GOOD, BAD_NOUNS, GOOD_NOUNS, BAD_VERBS, GOOD_VERBS, ASPECTS, ADJECTIVES, VERBS,
        ];
        for words in known {
            let words = words.split_whitespace().map(str::to_owned);
            maker.used.extend(words);
        }
        let mut polar = |adjectives, nouns, verbs| Polar {
            adjectives: Words::new(maker.list(adjectives, ADJECTIVE_ENDINGS, 160), 12.0, 0.8),
            nouns: Words::new(maker.list(nouns, NOUN_ENDINGS, 50), 8.0, 0.8),
            verbs: Words::new(maker.list(verbs, VERB_ENDINGS, 50), 8.0, 0.8),
        };
        let polar = [
            polar(BAD, BAD_NOUNS, BAD_VERBS),
            polar(GOOD, GOOD_NOUNS, GOOD_VERBS),
        ];
        let mut topic = || {
            let mut words = maker.list("", NOUN_ENDINGS, 500);
            let plurals = words.iter().take(150).map(|word| format!("{word}s"));
            let plurals = plurals.filter(|word| maker.used.insert(word.clone()));
            let plurals: Vec<String> = plurals.collect();
            words.extend(plurals);
            Words::new(words, 2.0, 1.05)
        };
        let topics = (0..6).map(|_| topic()).collect();
        Self {
            polar,
            topics,
            aspects: Words::new(maker.list(ASPECTS, "-", 0), 4.0, 0.7),
            adjectives: Words::new(maker.list(ADJECTIVES, ADJECTIVE_ENDINGS, 400), 3.0, 1.0),
            verbs: Words::new(maker.list(VERBS, VERB_ENDINGS, 400), 3.0, 1.0),
            names: Words::new(maker.list("", "o a an is", 800), 3.0, 0.9),
        }
    }
}
