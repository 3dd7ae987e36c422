//! Measured choices: which of several forms of an operation is fastest on this adapter.
//!
//! A choice is made once for each class of sizes and then kept, in the process and in a file of
//! the cache folder (one for each adapter, driver and version of melos), so that equal runs on
//! one adapter go through equal kernels and give equal bits. Forms differ in nothing but speed
//! and rounding. What the file does not hold is looked up in the table that melos brings along
//! before it is measured; `melos tune` measures all forms for the sizes of a run. Contexts with
//! checked kernels, as in tests, know neither file nor table.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::adapter::Caps;
use super::lock::lock;
use super::tuning_table::{self, FormTime, Measured, Table};
use crate::cache::cache_folder;
use crate::error::Result;

/// The choices of one device.
pub struct Tuning {
    state: Mutex<State>,
    path: Option<PathBuf>,
    /// What melos brings along for adapters of this kind.
    shipped: Table,
}

struct State {
    table: Table,
    /// What was measured since everything was to be measured anew.
    anew: Option<Vec<Measured>>,
}

impl Tuning {
    /// With `kept`, what is on disk, if anything, and what melos brings along.
    pub(super) fn new(caps: &Caps, kept: bool) -> Tuning {
        let folder = kept.then(cache_folder).flatten();
        let shipped = if kept {
            tuning_table::shipped(&Table::of(caps))
        } else {
            Table::default()
        };
        Tuning::at(caps, folder.map(|folder| folder.join("tuning")), shipped)
    }

    fn at(caps: &Caps, folder: Option<PathBuf>, shipped: Table) -> Tuning {
        let mut table = Table::of(caps);
        let path = folder.map(|folder| folder.join(table.file_name()));
        if let Some(path) = &path {
            table.load(path);
        }
        Tuning {
            state: Mutex::new(State { table, anew: None }),
            path,
            shipped,
        }
    }

    /// The index of a form in `names`, of which the first `worth`, best guess first, are worth a
    /// measurement: the fastest as kept for `class`, else as shipped, else the one with the fewest
    /// `seconds`, which is then kept; the best guess where nothing can be kept.
    pub(super) fn choose(
        &self,
        class: &str,
        names: &[String],
        worth: usize,
        mut seconds: impl FnMut(usize) -> Result<f64>,
    ) -> Result<usize> {
        // Held while measuring: two threads timing at once would mislead each other.
        let mut state = lock(&self.state);
        let worth = match &state.anew {
            Some(done) if !done.iter().any(|m| m.class == class) => names.len(),
            _ => {
                if let Some(index) = self.known(&mut state.table, class, names, worth) {
                    return Ok(index);
                }
                worth
            }
        };
        let mut forms = Vec::new();
        for (index, name) in names.iter().enumerate().take(worth) {
            let seconds = seconds(index)?;
            log::debug!("tuning {class}: {name} takes {:.3} ms", 1e3 * seconds);
            let form = name.clone();
            forms.push(FormTime { form, seconds });
        }
        forms.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let mut order: Vec<String> = forms.iter().map(|f| f.form.clone()).collect();
        if let Some(done) = &mut state.anew {
            let class = class.to_string();
            done.push(Measured { class, forms });
        }
        state.table.forms.insert(class.into(), order.clone());
        if let Err(e) = self.keep(&state.table) {
            log::warn!("the tuning table is not kept: {e}; taking the best guess for {class}");
            // A resumed run could measure otherwise, and then differ in its last bits.
            order = names[..worth].to_vec();
            state.table.forms.insert(class.into(), order.clone());
        }
        let fastest = order.first();
        Ok(fastest
            .and_then(|form| names.iter().position(|name| name == form))
            .unwrap_or(0))
    }

    /// From now on measures every form of each class of sizes once more, whatever is known.
    pub fn anew(&self) {
        lock(&self.state).anew = Some(Vec::new());
    }

    /// What was measured since [`Tuning::anew`].
    pub fn measured(&self) -> Vec<Measured> {
        lock(&self.state).anew.clone().unwrap_or_default()
    }

    /// The file that keeps the choices, where there is a folder for it.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// All that was measured on this device, as a table that can be shipped: TOML.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), which does not occur with any table that was measured.
    pub fn export(&self) -> Result<String> {
        lock(&self.state).table.export()
    }

    /// Takes over an exported table of such a device, over what was measured here; returns the
    /// number of its classes. `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::ConfigSyntax`](crate::Error::ConfigSyntax) for what is no table,
    /// [`Error::ConfigValue`](crate::Error::ConfigValue) where it is of other devices or another
    /// version; [`Error::Io`](crate::Error::Io) where it cannot be kept.
    pub fn import(&self, text: &str, file: &str) -> Result<usize> {
        let mut state = lock(&self.state);
        let count = state.table.import(text, file)?;
        self.keep(&state.table)?;
        Ok(count)
    }

    /// What is known without measuring.
    fn known(
        &self,
        table: &mut Table,
        class: &str,
        names: &[String],
        worth: usize,
    ) -> Option<usize> {
        // Another process may have chosen since; what it keeps, this one takes over.
        if worth > 1
            && !table.forms.contains_key(class)
            && let Some(path) = &self.path
        {
            table.load(path);
        }
        table
            .answer(class, names, worth)
            .or_else(|| self.shipped.answer(class, names, worth))
            .or_else(|| (worth == 1).then_some(0))
    }

    fn keep(&self, table: &Table) -> Result<()> {
        match &self.path {
            Some(path) => table.save(path),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::adapter::tests::caps;
    use std::fs;

    fn names() -> Vec<String> {
        ["slow", "fast"].map(String::from).into()
    }

    fn slow_and_fast(index: usize) -> Result<f64> {
        Ok([2.0, 1.0][index])
    }

    fn must_not_measure(_: usize) -> Result<f64> {
        panic!("measured again")
    }

    fn shipped(forms: &[&str]) -> Table {
        let mut table = Table::of(&caps(32));
        let forms = forms.iter().map(|f| f.to_string()).collect();
        table.forms.insert("c".into(), forms);
        table
    }

    fn at(caps: &Caps, folder: &Path) -> Tuning {
        Tuning::at(caps, Some(folder.join("tuning")), Table::default())
    }

    fn chosen(
        tuning: &Tuning,
        worth: usize,
        seconds: impl FnMut(usize) -> Result<f64>,
    ) -> Option<usize> {
        tuning.choose("c", &names(), worth, seconds).ok()
    }

    #[test]
    fn a_choice_is_measured_once_and_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || at(&caps(32), folder.path());
        let first = open();
        assert_eq!(chosen(&first, 2, slow_and_fast), Some(1));
        assert_eq!(chosen(&first, 2, must_not_measure), Some(1));
        assert_eq!(chosen(&open(), 2, must_not_measure), Some(1));
        // A form that is no longer offered is no answer, and one that was not measured is measured.
        let one = open().choose("c", &names()[..1], 1, must_not_measure);
        assert_eq!(one.ok(), Some(0));
        let new = [names(), vec!["new".into()]].concat();
        let third = open().choose("c", &new, 3, |i| Ok([2.0, 1.0, 0.5][i]));
        assert_eq!(third.ok(), Some(2));
    }

    #[test]
    fn forms_not_worth_it_are_taken_when_known_and_measured_only_when_tuning() {
        let folder = tempfile::tempdir().expect("a folder");
        let tuning = at(&caps(32), folder.path());
        assert_eq!(chosen(&tuning, 1, must_not_measure), Some(0));
        tuning.anew();
        assert_eq!(chosen(&tuning, 1, slow_and_fast), Some(1));
        assert_eq!(chosen(&tuning, 1, must_not_measure), Some(1));
        let done = tuning.measured();
        let seconds: Vec<f64> = done[0].forms.iter().map(|f| f.seconds).collect();
        assert_eq!(
            (done.len(), &done[0].class[..], &seconds[..]),
            (1, "c", &[1.0, 2.0][..])
        );
        let later = at(&caps(32), folder.path());
        assert_eq!(chosen(&later, 1, must_not_measure), Some(1));
        // Tuning measures again what is known.
        later.anew();
        assert_eq!(chosen(&later, 2, |i| Ok([1.0, 2.0][i])), Some(0));
    }

    #[test]
    fn what_was_measured_here_comes_before_what_is_shipped_and_that_before_measuring() {
        let folder = tempfile::tempdir().expect("a folder");
        let open =
            |forms: &[&str]| Tuning::at(&caps(32), Some(folder.path().into()), shipped(forms));
        let tuning = open(&["slow", "fast"]);
        assert_eq!(chosen(&tuning, 2, must_not_measure), Some(0));
        // It is not taken over into the file.
        assert!(!tuning.path.as_ref().is_some_and(|path| path.exists()));
        // One that lacks a form is no answer.
        assert_eq!(chosen(&open(&["slow"]), 2, slow_and_fast), Some(1));
        let tuning = open(&["slow", "fast"]);
        assert_eq!(chosen(&tuning, 2, must_not_measure), Some(1));
    }

    #[test]
    fn a_damaged_file_and_another_driver_or_version_count_for_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |caps: &Caps| at(caps, folder.path());
        let known = |tuning: &Tuning| lock(&tuning.state).table.forms.len();
        let old = open(&caps(32));
        old.choose("c", &names(), 2, slow_and_fast)
            .expect("a choice");
        let path = old.path.clone().expect("a path");
        let newer = Caps {
            driver: "driver 1.1".into(),
            ..caps(32)
        };
        assert_eq!(known(&open(&newer)), 0);
        let text = fs::read_to_string(&path).expect("a file");
        let version = format!("melos = \"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
        for other in ["forms = [", &text.replace(&version, "melos = \"0.0.9\"")] {
            fs::write(&path, other).expect("a write");
            assert_eq!(known(&open(&caps(32))), 0);
        }
        let anew = open(&caps(32));
        anew.choose("c", &names(), 2, slow_and_fast)
            .expect("a choice");
        assert_eq!(
            lock(&open(&caps(32)).state).table.forms["c"],
            ["fast", "slow"]
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_stops_nobody() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let tuning = at(&caps(32), file.path());
        assert_eq!(chosen(&tuning, 2, slow_and_fast), Some(0));
        assert_eq!(chosen(&tuning, 2, must_not_measure), Some(0));
    }
}
