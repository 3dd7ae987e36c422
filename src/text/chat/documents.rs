//! Files of conversations as numbered documents.

use std::ops::Range;

use rayon::prelude::*;

use super::encode::{Encoded, Encoder, learned_of};
use super::forms::{self, Example, Read, Row, malformed};
use crate::error::{Error, Result};
use crate::text::corpus::Source;
use crate::text::documents::{Chunks, Documents, Index, Tokens};

/// Which tokens of each document are learned.
#[derive(Debug, Default)]
pub struct ChatDocuments {
    learned: Vec<Vec<Range<u32>>>,
}

impl ChatDocuments {
    /// The tokens of a document that are learned, in order.
    pub fn learned(&self, doc: u32) -> &[Range<u32>] {
        self.learned.get(doc as usize).map_or(&[], Vec::as_slice)
    }

    /// How many of the first `most` tokens of a document are learned; the very first follows nothing.
    pub fn learned_of(&self, doc: u32, most: usize) -> usize {
        learned_of(self.learned(doc), most)
    }
}

/// Reads the answers of all `sources`, one after the other, and makes tokens of them.
///
/// # Errors
/// Those of reading; [`Error::MalformedRow`] for a row that the template refuses, or that holds another
/// thing than an answer to learn; [`Error::Tokenizer`].
pub fn read(sources: &[Source], encoder: &Encoder) -> Result<(Documents, ChatDocuments)> {
    let (mut ids, mut chats) = (Vec::new(), ChatDocuments::default());
    let mut index = Index {
        offsets: vec![0],
        ..Index::default()
    };
    for source in sources {
        let mut add = |rows: Vec<(u64, Example)>| -> Result<()> {
            let encoded: Vec<Result<Encoded>> = (rows.par_iter())
                .map(|(line, example)| {
                    let encoded = encoder.encode(example)?;
                    encoded.map_err(|wrong| malformed(&source.path, *line, wrong))
                })
                .collect();
            // In order, so that what is said of is the first row that is wrong.
            for row in encoded {
                let row = row?;
                ids.extend_from_slice(&row.ids);
                index.offsets.push(ids.len() as u64);
                index.middles.push(ids.len() as u64);
                index.labels.push(-1);
                index.splits.push(source.split);
                chats.learned.push(row.learned);
            }
            Ok(())
        };
        let mut chunk = Chunks::default();
        let form = each(source, &mut |line, example| {
            let bytes = example.said().len();
            match chunk.push((line, example), bytes) {
                true => add(chunk.take()),
                false => Ok(()),
            }
        })?;
        add(chunk.take())?;
        log::info!("'{}' is read as {form}", source.path.display());
    }
    Ok((Documents::new(Tokens::Owned(ids), index, false), chats))
}

/// Gives the answers of a file to `each`.
///
/// # Errors
/// As [`read`].
pub fn each(
    source: &Source,
    each: &mut dyn FnMut(u64, Example) -> Result<()>,
) -> Result<forms::Form> {
    forms::rows(source, &mut |Read { line, row }| match row {
        Row::Answer(example) => each(line, example),
        Row::Pair { .. } => Err(refused(source, line, "'chosen' and 'rejected'")),
        Row::Judged { .. } => Err(refused(source, line, "a 'label' that judges its answer")),
    })
}

fn refused(source: &Source, line: u64, what: &str) -> Error {
    let message = format!(
        "has {what}: a preference, of which this objective cannot learn; expected one answer a row"
    );
    malformed(&source.path, line, message)
}
