//! What a model said of documents before its first step: what it is held to, as a second model would be that is
//! not trained, in two numbers a document.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::device::lock;

/// Cross entropies of the answers in both rows of documents.
#[derive(Default)]
pub(super) struct Reference(Mutex<HashMap<u32, [f64; 2]>>);

impl Reference {
    /// Notes those of a document.
    pub fn set(&self, doc: u32, numbers: &[f64]) {
        if let &[first, second, ..] = numbers {
            lock(&self.0).insert(doc, [first, second]);
        }
    }

    /// Those of a document. Of one that was not asked about nothing is known, so that nothing can be computed.
    pub fn of(&self, doc: u32) -> [f64; 2] {
        lock(&self.0).get(&doc).copied().unwrap_or([f64::NAN; 2])
    }

    /// Those of documents, the first of all before the second of all; 0 where there is no document.
    pub fn rows(&self, docs: &[u32]) -> Vec<f32> {
        let part = |at: usize| docs.iter().map(move |&doc| self.part(doc, at));
        part(0).chain(part(1)).collect()
    }

    fn part(&self, doc: u32, at: usize) -> f32 {
        match doc {
            crate::text::batch::NO_DOC => 0.0,
            doc => self.of(doc)[at] as f32,
        }
    }
}
