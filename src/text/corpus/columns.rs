//! Which columns of a table, or keys of objects, are read: those that were asked for, else those of a
//! known name, else what the content tells.

use super::{Column, Source, clean_label, guess};
use crate::{Error, Result};

/// Names of the text: those of a line before those of the lines below it.
const TEXT: [&[&str]; 3] = [
    &["text"],
    &[
        "review",
        "sentence",
        "content",
        "document",
        "body",
        "comment",
        "comment_text",
        "message",
        "review_body",
        "review_text",
        "reviewtext",
        "tweet",
    ],
    &["ref"],
];
/// Names of the label, likewise.
const LABEL: [&[&str]; 4] = [
    &["gold_label"],
    &["label", "labels"],
    &[
        "class",
        "category",
        "emotion",
        "intent",
        "is_duplicate",
        "polarity",
        "quality",
        "sentiment",
        "target",
    ],
    &["rating", "score", "stars"],
];
/// Names of two texts that belong together.
const PAIRS: [[&str; 2]; 13] = [
    ["sentence1", "sentence2"],
    ["sentence_1", "sentence_2"],
    ["sentence_a", "sentence_b"],
    ["premise", "hypothesis"],
    ["question1", "question2"],
    ["question", "sentence"],
    ["question", "answer"],
    ["query", "passage"],
    ["text_a", "text_b"],
    ["text1", "text2"],
    ["text_1", "text_2"],
    ["string1", "string2"],
    ["#1 string", "#2 string"],
];
/// Names of what only numbers the rows.
const NUMBERS: [&str; 3] = ["id", "idx", "index"];
/// The label of those whose annotators did not agree, in files with a `gold_label`.
const NO_GOLD: &str = "-";

/// Which columns are read, by their places.
pub(super) struct Columns {
    pub(super) text: usize,
    pub(super) pair: Option<usize>,
    pub(super) label: Option<usize>,
    /// Whether nothing but the content says which is the text.
    pub(super) guessed: bool,
    /// Whether the label is one on which annotators had to agree.
    pub(super) gold: bool,
}

impl Columns {
    /// A label as it stands in its column, or what is wrong with it.
    pub(super) fn clean(&self, source: &Source, label: &str) -> Result<Option<String>, String> {
        match self.gold && label.trim() == NO_GOLD {
            true => Ok(None),
            false => clean_label(source, label),
        }
    }
}

/// What the names are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// None: fields of a first row that is as the others.
    None,
    /// A header with a name that is known, or that should be one.
    Header,
    /// A header, by the look of it.
    Guessed,
    /// Keys of objects.
    Keys,
}

/// What there is to choose from.
pub(super) struct Offer<'a> {
    pub(super) source: &'a Source,
    pub(super) names: &'a [&'a str],
    pub(super) are: Names,
    /// The first rows, without a header.
    pub(super) rows: &'a [Vec<String>],
}

/// Whether a name is a usual one of a text, or of one of a pair.
pub(super) fn is_text(name: &str) -> bool {
    let usual = name.trim().to_lowercase();
    let usual = usual.as_str();
    TEXT.into_iter().any(|names| names.contains(&usual))
        || PAIRS.iter().any(|pair| pair.contains(&usual))
}

/// Whether a field of a first row is a name that was asked for, or a usual one.
pub(super) fn is_known(source: &Source, field: &str) -> bool {
    let name = field.trim();
    let usual = name.to_lowercase();
    is_text(name)
        || LABEL.iter().any(|names| names.contains(&usual.as_str()))
        || [&source.text, &source.pair, &source.label]
            .into_iter()
            .any(|column| matches!(column, Some(Column::Name(wanted)) if wanted == name))
}

impl Offer<'_> {
    /// The columns, and says which they are.
    ///
    /// # Errors
    /// [`Error::ColumnMissing`] for one that is not there or that nothing tells, [`Error::ConfigValue`]
    /// where several could be it.
    pub(super) fn choose(&self) -> Result<Columns> {
        let source = self.source;
        let mut text = self.asked(&source.text, "text")?;
        let mut pair = self.asked(&source.pair, "pair")?;
        let mut label = match source.labelled {
            false => None,
            true => match self.asked(&source.label, "label")? {
                None => self.known("label", &LABEL, &[text, pair])?,
                label => label,
            },
        };
        let learns = source.labelled && !source.label_optional;
        if text.is_none()
            && (source.pairs.unwrap_or(learns) || pair.is_some())
            && let Some((first, second)) = self.known_pair(pair, label)?
        {
            (text, pair) = (Some(first), Some(second));
        }
        if text.is_none() {
            text = self.known("text", &TEXT, &[pair, label])?;
        }
        let needs_label = learns && label.is_none();
        let count = self.names.len();
        let numbers =
            |at: usize| Some(at) != text && NUMBERS.iter().any(|n| self.place(n) == Some(at));
        let only_one_left = matches!(self.are, Names::None | Names::Header)
            && count == 2 + usize::from(pair.is_some())
            && !(0..count).any(numbers);
        if needs_label && !only_one_left {
            return Err(self.missing(&None, "label"));
        }
        let guessed = text.is_none() && count > 1;
        let text = match text {
            Some(text) => text,
            None => self.by_content([pair, label])?,
        };
        if self.are == Names::Guessed {
            let names = listed(self.names);
            guess::say(
                &source.path,
                log::Level::Warn,
                format!("took its first row for a header: {names}"),
            );
        }
        if needs_label {
            label = (0..count).find(|&at| at != text && Some(at) != pair);
        }
        let gold = label.is_some_and(|at| {
            self.are != Names::None && self.names[at].trim().eq_ignore_ascii_case(LABEL[0][0])
        });
        let columns = Columns {
            text,
            pair,
            label,
            guessed,
            gold,
        };
        self.say(&columns);
        Ok(columns)
    }

    /// What a column is called.
    pub(super) fn name(&self, column: usize) -> String {
        match self.are {
            Names::None => column.to_string(),
            _ => short(self.names[column].trim()),
        }
    }

    fn say(&self, columns: &Columns) {
        if self.names.len() < 2 {
            return;
        }
        let quoted = |role: &str, column| format!("{role} '{}'", self.name(column));
        let mut said = vec![quoted("text", columns.text)];
        said.extend(columns.pair.map(|column| quoted("second text", column)));
        said.extend(columns.label.map(|column| quoted("label", column)));
        let by_number = match self.are {
            Names::None => ", by number (from 0)",
            _ => "",
        };
        let said = format!("{}{by_number}", said.join(", "));
        guess::say(&self.source.path, log::Level::Info, said);
    }

    /// A column that was asked for: as it is written, or in other letters.
    fn asked(&self, column: &Option<Column>, role: &'static str) -> Result<Option<usize>> {
        let Some(wanted) = column else {
            return Ok(None);
        };
        let named = |name: &str| {
            let names = || self.names.iter().map(|field| field.trim());
            names()
                .position(|field| field == name)
                .or_else(|| names().position(|field| field.eq_ignore_ascii_case(name)))
        };
        let found = match wanted {
            // A number may be a key as well.
            Column::Index(index) if self.are == Names::Keys => named(&index.to_string()),
            Column::Index(index) => Some(*index).filter(|index| *index < self.names.len()),
            Column::Name(name) => named(name),
        };
        found.map(Some).ok_or_else(|| self.missing(column, role))
    }

    /// The place of a name, in any letters.
    fn place(&self, name: &str) -> Option<usize> {
        let mut names = self.names.iter();
        match self.are {
            Names::None => None,
            _ => names.position(|field| field.trim().to_lowercase() == name),
        }
    }

    /// The column of a known name; of several, that of the first line of `known`.
    fn known(
        &self,
        role: &'static str,
        known: &[&[&str]],
        taken: &[Option<usize>],
    ) -> Result<Option<usize>> {
        for names in known {
            let places = names.iter().filter_map(|name| self.place(name));
            let mut places: Vec<usize> = places.filter(|at| !taken.contains(&Some(*at))).collect();
            places.sort_unstable();
            match places[..] {
                [] => {}
                [one] => return Ok(Some(one)),
                _ => return Err(self.unclear(role, &places)),
            }
        }
        Ok(None)
    }

    /// Two columns of known names that belong together; the second is `pair` where that was asked for.
    fn known_pair(
        &self,
        pair: Option<usize>,
        label: Option<usize>,
    ) -> Result<Option<(usize, usize)>> {
        let places = PAIRS.iter().filter_map(|[first, second]| {
            let both = (self.place(first)?, self.place(second)?);
            match pair {
                Some(pair) if pair == both.0 => Some((both.1, both.0)),
                Some(pair) if pair != both.1 => None,
                _ => Some(both),
            }
        });
        let free = |both: &(usize, usize)| ![Some(both.0), Some(both.1)].contains(&label);
        let found: Vec<(usize, usize)> = places.filter(free).collect();
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => {
                let mut places: Vec<usize> = found.iter().flat_map(|&(a, b)| [a, b]).collect();
                places.sort_unstable();
                places.dedup();
                Err(self.unclear("text", &places))
            }
        }
    }

    /// The column with the most text.
    fn by_content(&self, taken: [Option<usize>; 2]) -> Result<usize> {
        let label = LABEL
            .into_iter()
            .flatten()
            .filter_map(|name| self.place(name));
        let labels: Vec<usize> = label.collect();
        // Rows may have more fields than there are names.
        let may = |column: usize| {
            column < self.names.len() && !taken.contains(&Some(column)) && !labels.contains(&column)
        };
        let column = guess::text_column(self.rows, may);
        let column = column.ok_or_else(|| self.missing(&None, "text"))?;
        if self.names.len() > 1 {
            let name = match self.are {
                Names::None => format!("column number {column} (from 0)"),
                Names::Keys => format!("key '{}'", self.name(column)),
                _ => format!("column '{}'", self.name(column)),
            };
            let what = if self.are == Names::Keys {
                "keys"
            } else {
                "columns"
            };
            let all = listed(self.names);
            guess::say(
                &self.source.path,
                log::Level::Warn,
                format!(
                    "took {name} for the text, of the {what} {all}; --text (data.text_column) names another"
                ),
            );
        }
        Ok(column)
    }

    /// What names a column.
    fn by(&self) -> &'static str {
        match self.are {
            Names::Keys => "its key",
            _ => "its header or number (from 0)",
        }
    }

    /// What the first row says, column by column.
    fn sample(&self) -> String {
        let fields = match (self.are, self.rows.first()) {
            // It stands there already.
            (Names::None, _) | (_, None) => return String::new(),
            (_, Some(row)) => row.iter().map(short).filter(|field| !field.is_empty()),
        };
        let fields: Vec<String> = fields.collect();
        match fields[..] {
            [] => String::new(),
            _ => format!(" (first row: {})", fields.join(" | ")),
        }
    }

    /// The error of a column that is not there.
    pub(super) fn missing(&self, wanted: &Option<Column>, role: &'static str) -> Error {
        let available = listed(self.names) + &self.sample();
        column_missing(self.source, wanted, role, available, self.by())
    }

    fn unclear(&self, role: &'static str, places: &[usize]) -> Error {
        let candidates: Vec<String> = places.iter().map(|&at| self.name(at)).collect();
        let (path, candidates) = (self.source.path.display(), candidates.join(", "));
        let (available, by) = (listed(self.names) + &self.sample(), self.by());
        Error::value(
            format!("data.{role}_column"),
            format!(
                "is not set, and several columns of '{path}' may be the {role}: {candidates}; it has: {available}; \
                 name one by {by}, in a run file or with --{role} COLUMN"
            ),
        )
    }
}

/// A long text in a file without header would hide the message.
pub(super) fn short(name: impl AsRef<str>) -> String {
    name.as_ref().chars().take(24).collect()
}

/// Names with commas between them.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(short).collect();
    names.join(", ")
}

/// The error of a column (or key) that is not there; `by` is what names one.
pub(super) fn column_missing(
    source: &Source,
    wanted: &Option<Column>,
    role: &'static str,
    available: String,
    by: &'static str,
) -> Error {
    Error::ColumnMissing {
        path: source.path.clone(),
        role,
        wanted: match wanted {
            None => String::new(),
            Some(Column::Index(index)) => format!(" number {index}"),
            Some(Column::Name(name)) => format!(" '{name}'"),
        },
        available,
        by,
    }
}
