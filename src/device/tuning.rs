//! Measured choices: which of several forms of an operation is fastest on this adapter.
//!
//! A choice is made once for each class of sizes and then kept, in the process and in a file of
//! the cache folder (one for each adapter, driver and version of melos), so that equal runs on
//! one adapter go through equal kernels and give equal bits. Forms differ in nothing but speed
//! and rounding. Contexts with checked kernels, as in tests, neither read nor write the file.
//!
//! The environment variable `MELOS_KERNELS` forces a rung instead: `portable` uses no optional
//! feature of the adapter, `subgroup` broadcasts within subgroups wherever a kernel can, `image`
//! does that too and makes matrix products of operands copied into images, `tile` makes them by
//! tiles in workgroup memory, `matrix` those of f16 on matrix units. Unset or empty leaves the
//! choice to melos.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

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

/// The file: what it was measured on, and the fastest form of each class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    adapter: String,
    driver: String,
    melos: String,
    fastest: BTreeMap<String, String>,
}

impl Table {
    fn of(caps: &Caps) -> Table {
        Table {
            adapter: caps.name.clone(),
            driver: format!("{} {}", caps.backend, caps.driver),
            melos: env!("CARGO_PKG_VERSION").into(),
            fastest: BTreeMap::new(),
        }
    }

    /// One file for each adapter, driver and version: letters and digits, and a number that keeps
    /// apart what differs in other characters.
    fn file_name(&self) -> String {
        let all = format!("{} {} {}", self.adapter, self.driver, self.melos);
        let hash = all.bytes().fold(0x811c_9dc5u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let words: Vec<&str> = all
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let readable: String = words.join("-").chars().take(100).collect();
        format!("{readable}-{hash:08x}.toml")
    }

    /// Adds what `path` holds and this table does not. A file that is damaged, or of another adapter, counts for nothing.
    fn load(&mut self, path: &Path) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(e) => return log::warn!("cannot read the tuning table '{}': {e}", path.display()),
        };
        match toml::from_str::<Table>(&text) {
            Ok(found) if found.same_device(self) => {
                for (class, form) in found.fastest {
                    self.fastest.entry(class).or_insert(form);
                }
            }
            _ => log::warn!(
                "the tuning table '{}' is damaged; measuring anew",
                path.display()
            ),
        }
    }

    fn same_device(&self, other: &Table) -> bool {
        (&self.adapter, &self.driver, &self.melos) == (&other.adapter, &other.driver, &other.melos)
    }

    /// Writes the table beside its place, then moves it there: readers see all of it or nothing.
    fn save(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let written = fs::File::create(&partial)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&partial, path));
        if written.is_err() {
            // Best effort: the error that matters is the one being returned.
            let _ = fs::remove_file(&partial);
        }
        written
    }
}

/// The choices of one device.
pub(super) struct Tuning {
    table: Mutex<Table>,
    path: Option<PathBuf>,
}

impl Tuning {
    /// With `kept`, what is on disk, if anything.
    pub(super) fn new(caps: &Caps, kept: bool) -> Tuning {
        let folder = kept.then(cache_folder).flatten();
        Tuning::at(caps, folder.map(|folder| folder.join("tuning")))
    }

    fn at(caps: &Caps, folder: Option<PathBuf>) -> Tuning {
        let mut table = Table::of(caps);
        let path = folder.map(|folder| folder.join(table.file_name()));
        if let Some(path) = &path {
            table.load(path);
        }
        Tuning {
            table: Mutex::new(table),
            path,
        }
    }

    /// The index in `names`, best guess first, of the form kept for `class`, else of the one with
    /// the fewest `seconds`, which is then kept; of the best guess where nothing can be kept.
    fn choose(
        &self,
        class: &str,
        names: &[String],
        mut seconds: impl FnMut(usize) -> Result<f64>,
    ) -> Result<usize> {
        // Held while measuring: two threads timing at once would mislead each other.
        let mut table = lock(&self.table);
        // Another process may have chosen since; what it keeps, this one takes over.
        if !table.fastest.contains_key(class)
            && let Some(path) = &self.path
        {
            table.load(path);
        }
        let known = table.fastest.get(class);
        if let Some(index) = known.and_then(|known| names.iter().position(|name| name == known)) {
            return Ok(index);
        }
        let mut best = (f64::INFINITY, 0);
        for (index, name) in names.iter().enumerate() {
            let took = seconds(index)?;
            log::debug!("tuning {class}: {name} takes {:.3} ms", 1e3 * took);
            if took < best.0 {
                best = (took, index);
            }
        }
        let mut keep = |index: usize| {
            let name = names.get(index).cloned().unwrap_or_default();
            table.fastest.insert(class.to_string(), name);
            match &self.path {
                Some(path) => table.save(path).map_err(|e| (path, e)),
                None => Ok(()),
            }
        };
        if let Err((path, e)) = keep(best.1) {
            log::warn!(
                "cannot keep the tuning table '{}': {e}; taking the best guess for {class}",
                path.display()
            );
            // A resumed run could measure otherwise, and then differ in its last bits.
            best.1 = 0;
            let _ = keep(best.1);
        }
        Ok(best.1)
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

    /// The index in `names`, best guess first, of the fastest form for a `class` of sizes: as chosen
    /// before on this adapter and driver, else as measured now by `seconds`, which is given a
    /// context of its own so that nothing enters this one's commands or recordings. It must not
    /// ask for another choice.
    ///
    /// # Errors
    /// Those of `seconds`.
    pub(crate) fn fastest(
        &self,
        class: &str,
        names: &[String],
        mut seconds: impl FnMut(&Gpu, usize) -> Result<f64>,
    ) -> Result<usize> {
        let began = Instant::now();
        let chosen = self
            .shared
            .tuning
            .choose(class, names, |index| seconds(&self.fork(), index))?;
        if began.elapsed() > NOTICEABLE {
            log::info!(
                "prepared kernels for {class}: {} of {} forms is fastest ({:.1} s, once for this adapter)",
                names.get(chosen).map_or("", String::as_str),
                names.len(),
                began.elapsed().as_secs_f64()
            );
        }
        Ok(chosen)
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
        self.shared.kernels.settle();
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

    #[test]
    fn a_choice_is_measured_once_and_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Tuning::at(&caps(32), Some(folder.path().join("tuning")));
        let first = open();
        assert_eq!(first.choose("c", &names(), slow_and_fast).ok(), Some(1));
        assert_eq!(first.choose("c", &names(), must_not_measure).ok(), Some(1));
        assert_eq!(open().choose("c", &names(), must_not_measure).ok(), Some(1));
        // A form that is no longer offered is no answer.
        let other = ["slow".to_string()];
        assert_eq!(open().choose("c", &other, slow_and_fast).ok(), Some(0));
    }

    #[test]
    fn a_damaged_file_and_another_driver_count_for_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |caps: &Caps| Tuning::at(caps, Some(folder.path().to_path_buf()));
        let old = open(&caps(32));
        old.choose("c", &names(), slow_and_fast).expect("a choice");
        let path = old.path.clone().expect("a path");
        let newer = Caps {
            driver: "driver 1.1".into(),
            ..caps(32)
        };
        assert!(lock(&open(&newer).table).fastest.is_empty());
        fs::write(&path, "fastest = [").expect("a write");
        let anew = open(&caps(32));
        assert!(lock(&anew.table).fastest.is_empty());
        anew.choose("c", &names(), slow_and_fast).expect("a choice");
        assert_eq!(lock(&open(&caps(32)).table).fastest["c"], "fast");
    }

    #[test]
    fn a_folder_that_cannot_be_written_stops_nobody() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let tuning = Tuning::at(&caps(32), Some(file.path().join("tuning")));
        assert_eq!(tuning.choose("c", &names(), slow_and_fast).ok(), Some(0));
        assert_eq!(tuning.choose("c", &names(), must_not_measure).ok(), Some(0));
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
