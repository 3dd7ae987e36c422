//! Measured choices: which of several forms of an operation is fastest on this adapter.
//!
//! A choice is made once for each class of sizes and then kept, in the process and in a file of
//! the cache folder (one for each adapter, driver and version of melos), so that equal runs on
//! one adapter go through equal kernels and give equal bits. Forms differ in nothing but speed
//! and rounding. What the file does not hold is looked up in the table that melos brings along
//! before it is measured; `melos tune` measures all forms for the sizes of a run. Contexts with
//! checked kernels, as in tests, know neither file nor table.
//!
//! The environment variable `MELOS_KERNELS` forces a rung instead: `portable` uses no optional
//! feature of the adapter, `subgroup` broadcasts within subgroups wherever a kernel can, `image`
//! does that too and makes matrix products of operands copied into images, `tile` makes them by
//! tiles in workgroup memory, `matrix` those of f16 on matrix units. Unset or empty leaves the
//! choice to melos.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::tuning_table::{self, FormTime, Measured, Table};
use super::{Caps, Gpu, lock};
use crate::cache::cache_folder;
use crate::error::{Error, Result};

/// A rung forced by `MELOS_KERNELS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// No optional feature.
    Portable,
    /// Subgroup broadcast, on adapters whose subgroups have 8 lanes or more.
    Subgroup,
    /// As `Subgroup`, and matrix products of operands copied into images where they suit it.
    Image,
    /// Matrix products by register tiles over workgroup memory; all else portable.
    Tile,
    /// Products of f16 on matrix units, those of f32 by tiles; all else portable.
    Matrix,
}

impl Rung {
    /// Whether kernels broadcast within subgroups.
    pub(crate) fn broadcasts(self) -> bool {
        matches!(self, Rung::Subgroup | Rung::Image)
    }

    /// What `MELOS_KERNELS` asks for.
    pub(super) fn from_env(caps: &Caps) -> Result<Option<Rung>> {
        let value = std::env::var_os("MELOS_KERNELS").unwrap_or_default();
        Rung::parse(&value.to_string_lossy(), caps)
    }

    fn parse(value: &str, caps: &Caps) -> Result<Option<Rung>> {
        let bad = |expected| {
            Err(Error::Argument {
                op: "device",
                arg: "MELOS_KERNELS",
                value: format!("'{value}'"),
                expected,
            })
        };
        match value {
            "" => Ok(None),
            "portable" => Ok(Some(Rung::Portable)),
            "subgroup" | "image" if !caps.subgroup || caps.subgroup_min < 8 => {
                bad("another rung: this adapter's subgroups have fewer than 8 lanes")
            }
            "subgroup" => Ok(Some(Rung::Subgroup)),
            "image" => Ok(Some(Rung::Image)),
            "tile" => Ok(Some(Rung::Tile)),
            "matrix" if caps.matrix.is_some() => Ok(Some(Rung::Matrix)),
            "matrix" => bad("another rung: this adapter has no cooperative matrices for it"),
            _ => bad("portable, subgroup, image, tile or matrix"),
        }
    }
}

/// The choices of one device.
pub(super) struct Tuning {
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
        let shipped = match kept {
            true => tuning_table::shipped(&Table::of(caps)),
            false => Table::default(),
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
    fn choose(
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
        if let Err((path, e)) = self.keep(&state.table) {
            log::warn!(
                "cannot keep the tuning table '{}': {e}; taking the best guess for {class}",
                path.display()
            );
            // A resumed run could measure otherwise, and then differ in its last bits.
            order = names[..worth].to_vec();
            state.table.forms.insert(class.into(), order.clone());
        }
        let fastest = order.first();
        Ok(fastest
            .and_then(|form| names.iter().position(|name| name == form))
            .unwrap_or(0))
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

    fn keep(&self, table: &Table) -> Result<(), (&PathBuf, io::Error)> {
        match &self.path {
            Some(path) => table.save(path).map_err(|e| (path, e)),
            None => Ok(()),
        }
    }
}

/// One sample lasts at least this long, so that the wait for the device does not count.
const SAMPLE: Duration = Duration::from_millis(2);
/// Odd, for a median; the first run, which compiles, is not one of them.
const SAMPLES: usize = 5;
/// Measurements beyond this are announced.
const NOTICEABLE: Duration = Duration::from_millis(200);

impl Gpu {
    /// The rung that `MELOS_KERNELS` forces.
    pub fn rung(&self) -> Option<Rung> {
        self.shared.rung
    }

    /// The index in `names` of the fastest form for a `class` of sizes: as chosen before on this
    /// adapter and driver, or as melos brings it along, else as measured now by `seconds`. Only the
    /// first `worth`, best guess first, are measured then. `seconds` is given a context of its own so
    /// that nothing enters this one's commands or recordings. It must not ask for another choice.
    ///
    /// # Errors
    /// Those of `seconds`.
    pub(crate) fn fastest(
        &self,
        class: &str,
        names: &[String],
        worth: usize,
        mut seconds: impl FnMut(&Gpu, usize) -> Result<f64>,
    ) -> Result<usize> {
        let began = Instant::now();
        // What a forced rung leaves to choose is no choice for all other runs.
        let class = match self.rung() {
            Some(rung) => format!("{class}, {rung:?} alone"),
            None => class.to_string(),
        };
        let tuning = &self.shared.tuning;
        let chosen = tuning.choose(&class, names, worth, |i| seconds(&self.fork(), i))?;
        if began.elapsed() > NOTICEABLE {
            log::info!(
                "prepared kernels for {class}: {} of {worth} forms is fastest ({:.1} s, once for this adapter)",
                names.get(chosen).map_or("", String::as_str),
                began.elapsed().as_secs_f64()
            );
        }
        Ok(chosen)
    }

    /// From now on measures every form of each class of sizes once more, whatever is known.
    pub fn tune_anew(&self) {
        lock(&self.shared.tuning.state).anew = Some(Vec::new());
    }

    /// What was measured since [`Gpu::tune_anew`].
    pub fn measured(&self) -> Vec<Measured> {
        lock(&self.shared.tuning.state)
            .anew
            .clone()
            .unwrap_or_default()
    }

    /// The file that keeps this device's choices, where there is a folder for it.
    pub fn tuning_file(&self) -> Option<&Path> {
        self.shared.tuning.path.as_deref()
    }

    /// All that was measured on this device, as a table that can be shipped: TOML.
    ///
    /// # Errors
    /// [`Error::Io`], which does not occur with any table that was measured.
    pub fn export_tuning(&self) -> Result<String> {
        lock(&self.shared.tuning.state).table.export()
    }

    /// Takes over an exported table of such a device, over what was measured here; returns the
    /// number of its classes. `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::ConfigSyntax`] for what is no table, [`Error::ConfigValue`] where it is of other devices
    /// or another version; [`Error::Io`] where it cannot be kept.
    pub fn import_tuning(&self, text: &str, file: &str) -> Result<usize> {
        let tuning = &self.shared.tuning;
        let mut state = lock(&tuning.state);
        let count = state.table.import(text, file)?;
        let kept = tuning.keep(&state.table);
        kept.map_err(|(path, e)| Error::write(path, e))?;
        Ok(count)
    }

    /// Seconds that the commands `queue` queues take: the median of a few samples.
    ///
    /// # Errors
    /// Those of `queue`, and [`Error::Device`].
    pub(crate) fn seconds(&self, queue: impl Fn() -> Result<()>) -> Result<f64> {
        let sample = |repeats: u32| {
            self.wait()?;
            let began = Instant::now();
            for _ in 0..repeats {
                queue()?;
            }
            self.wait()?;
            Ok::<Duration, Error>(began.elapsed())
        };
        sample(1)?;
        // What compiles meanwhile would count.
        self.settle();
        let once = sample(1)?;
        let repeats = (SAMPLE.as_nanos() / once.as_nanos().max(1)).clamp(1, 64) as u32;
        let mut samples = (0..SAMPLES)
            .map(|_| sample(repeats))
            .collect::<Result<Vec<_>>>()?;
        samples.sort();
        Ok(samples[SAMPLES / 2].as_secs_f64() / f64::from(repeats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn caps(subgroup_min: u32) -> Caps {
        Caps {
            name: "a card / rev. 1".into(),
            driver: "driver 1.0".into(),
            backend: "vulkan".into(),
            is_cpu: false,
            subgroup: subgroup_min > 0,
            subgroup_min,
            subgroup_max: subgroup_min,
            f16: false,
            matrix: None,
            timestamps: false,
            limits: wgpu::Limits::default(),
        }
    }

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
        lock(&tuning.state).anew = Some(Vec::new());
        assert_eq!(chosen(&tuning, 1, slow_and_fast), Some(1));
        assert_eq!(chosen(&tuning, 1, must_not_measure), Some(1));
        let done = lock(&tuning.state).anew.clone().unwrap_or_default();
        let seconds: Vec<f64> = done[0].forms.iter().map(|f| f.seconds).collect();
        assert_eq!(
            (done.len(), &done[0].class[..], &seconds[..]),
            (1, "c", &[1.0, 2.0][..])
        );
        let later = at(&caps(32), folder.path());
        assert_eq!(chosen(&later, 1, must_not_measure), Some(1));
        // Tuning measures again what is known.
        lock(&later.state).anew = Some(Vec::new());
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

    #[test]
    fn rungs_are_those_the_adapter_has() {
        let parse = |value, lanes| Rung::parse(value, &caps(lanes)).map_err(|e| e.to_string());
        assert_eq!(parse("", 32), Ok(None));
        assert_eq!(parse("portable", 0), Ok(Some(Rung::Portable)));
        assert_eq!(parse("tile", 0), Ok(Some(Rung::Tile)));
        assert_eq!(parse("subgroup", 8), Ok(Some(Rung::Subgroup)));
        assert_eq!(parse("image", 8), Ok(Some(Rung::Image)));
        for rung in ["subgroup", "image"] {
            assert!(parse(rung, 4).is_err_and(|e| e.contains("fewer than 8 lanes")));
        }
        assert!(parse("matrix", 32).is_err_and(|e| e.contains("no cooperative matrices")));
        assert!(
            parse("fast", 32)
                .is_err_and(|e| e.contains("portable, subgroup, image, tile or matrix"))
        );
    }
}
