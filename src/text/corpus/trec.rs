//! TREC's questions (Li & Roth, "Learning question classifiers", COLING 2002): `train_5500.label` and
//! `TREC_10.label`, on each line `COARSE:fine` and a question.

use super::columns::{Names, Offer};
use super::describe::Described;
use super::objects::malformed;
use super::{Example, Sink, Source, lines};
use crate::Result;

/// What stands on a line, as if it were columns: its six coarse classes are the label, unless `fine` is asked
/// for.
const NAMES: [&str; 3] = ["label", "fine", "text"];

fn offer(source: &Source) -> Offer<'_> {
    Offer {
        source,
        names: &NAMES,
        are: Names::Header,
        rows: &[],
    }
}

pub(super) fn describe(source: &Source, described: &mut Described) -> Result<()> {
    let offer = offer(source);
    described.take(&offer, &offer.choose()?);
    Ok(())
}

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let columns = offer(source).choose()?;
    let text = lines::read_any(&mut lines::open_bytes(&source.path)?, &source.path)?;
    for (line, row) in (1..).zip(text.split('\n').map(str::trim)) {
        if row.is_empty() {
            continue;
        }
        let labels = row.split_once(' ');
        let parts =
            labels.and_then(|(fine, text)| Some([fine.split_once(':')?.0, fine, text.trim()]));
        let parts = parts.ok_or_else(|| {
            let expected = "expected COARSE:fine, a space and a question";
            malformed(&source.path, line, expected)
        })?;
        sink(Example {
            text: parts[columns.text].to_owned(),
            pair: columns.pair.map(|pair| parts[pair].to_owned()),
            label: columns.label.map(|label| parts[label].to_owned()),
            split: None,
            line: Some(line),
            row: match source.rows {
                true => NAMES
                    .iter()
                    .zip(parts)
                    .map(|(name, part)| ((*name).into(), part.into()))
                    .collect(),
                false => Vec::new(),
            },
        })?;
    }
    Ok(())
}
