//! Tables of measured choices: a file for each adapter, driver and version of melos in the cache
//! folder, and the one that melos brings along for adapters it was measured on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::adapter::Caps;
use crate::atomic::write_file;
use crate::bounded;
use crate::error::{Error, Result};

/// What melos brings along: what `melos tune --export` wrote, names shortened to what adapters
/// and drivers of a kind have in common.
const SHIPPED: &str = include_str!("tuned.toml");

/// Begins the last line of a table in the cache.
const CHECKSUM: &str = "# checksum ";

fn checksum(text: &str) -> String {
    format!("{:08x}\n", fnv(text))
}

/// FNV-1a, 32 bits.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// How long one form of a class took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormTime {
    /// The form.
    pub form: String,
    /// Seconds of one run.
    pub seconds: f64,
}

/// The forms measured for a class of sizes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The operation and its sizes, rounded up to powers of two.
    pub class: String,
    /// The fastest first.
    pub forms: Vec<FormTime>,
}

/// What was measured on one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub adapter: String,
    pub driver: String,
    pub melos: String,
    /// The forms of each class of sizes, the fastest first.
    pub forms: BTreeMap<String, Vec<String>>,
}

/// A file of several devices.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Devices {
    #[serde(default)]
    device: Vec<Table>,
}

impl Table {
    pub fn of(caps: &Caps) -> Table {
        Table {
            adapter: caps.name.clone(),
            driver: format!("{} {}", caps.backend, caps.driver),
            melos: env!("CARGO_PKG_VERSION").into(),
            forms: BTreeMap::new(),
        }
    }

    /// The index in `names` of the fastest form of a class, where all that are `worth` a
    /// measurement (the first so many) have been measured.
    pub fn answer(&self, class: &str, names: &[String], worth: usize) -> Option<usize> {
        let known = self.forms.get(class)?;
        if !names.iter().take(worth).all(|name| known.contains(name)) {
            return None;
        }
        known
            .iter()
            .find_map(|form| names.iter().position(|name| name == form))
    }

    /// One file for each adapter, driver and version: letters and digits, and a number that keeps
    /// apart what differs in other characters.
    pub fn file_name(&self) -> String {
        let all = format!("{} {} {}", self.adapter, self.driver, self.melos);
        let hash = fnv(&all);
        let words: Vec<&str> = all
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let readable: String = words.join("-").chars().take(100).collect();
        format!("{readable}-{hash:08x}.toml")
    }

    /// Adds what `path` holds and this table does not. A file that is damaged, or of another
    /// adapter, counts for nothing.
    pub fn load(&mut self, path: &Path) {
        let text = match bounded::read_text(path, bounded::SETTINGS) {
            Ok(text) => text,
            Err(Error::FileMissing { .. }) => return,
            Err(e) => return log::warn!("cannot read the tuning table: {e}"),
        };
        let whole = (text.rsplit_once(CHECKSUM)).filter(|(body, sum)| *sum == checksum(body));
        match whole.map(|(body, _)| toml::from_str::<Table>(body)) {
            Some(Ok(found)) if found.same_device(self) => {
                for (class, forms) in found.forms {
                    self.forms.entry(class).or_insert(forms);
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

    /// Whether its names stand, case ignored, in those of `device`.
    fn is_of(&self, device: &Table) -> bool {
        let part = |part: &str, whole: &str| whole.to_lowercase().contains(&part.to_lowercase());
        part(&self.adapter, &device.adapter) && part(&self.driver, &device.driver)
    }

    /// Writes the table, whole or not at all, and its folder if need be.
    pub fn save(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let text = toml::to_string(self)
            .map(|text| format!("{text}{CHECKSUM}{}", checksum(&text)))
            .map_err(io::Error::other);
        let ready = fs::create_dir_all(folder).and(text);
        write_file(path, ready.map_err(|e| Error::write(path, e))?.as_bytes())
    }

    /// The table as one device of a file that can be shipped.
    pub fn export(&self) -> Result<String> {
        let all = Devices {
            device: vec![self.clone()],
        };
        toml::to_string(&all)
            .map_err(|e| Error::io("write", "the tuning table", io::Error::other(e)))
    }

    /// Takes in what the exported text says of this very device.
    pub fn import(&mut self, text: &str, file: &str) -> Result<usize> {
        let all: Devices = toml::from_str(text).map_err(|e| Error::ConfigSyntax {
            file: file.into(),
            message: format!("or no tuning table: {}", e.to_string().trim_end()),
        })?;
        let Some(found) = all.device.into_iter().find(|table| table.is_of(self)) else {
            return Err(Error::ConfigValue {
                place: file.into(),
                message: format!(
                    "has nothing for {} ({}); `melos tune` measures it",
                    self.adapter, self.driver
                ),
            });
        };
        if found.melos != self.melos {
            return Err(Error::ConfigValue {
                place: file.into(),
                message: format!(
                    "was measured by melos {}, this is {}; measure anew with `melos tune`",
                    found.melos, self.melos
                ),
            });
        }
        let count = found.forms.len();
        self.forms.extend(found.forms);
        Ok(count)
    }
}

/// What melos brings along for a device, empty where it knows none of its kind. Forms that this
/// version no longer has, or did not have yet, do no harm: see [`Table::answer`].
pub(super) fn shipped(device: &Table) -> Table {
    from_devices(SHIPPED, device)
}

fn from_devices(text: &str, device: &Table) -> Table {
    let all: Devices = toml::from_str(text).unwrap_or_default();
    let found = all.device.into_iter().find(|table| table.is_of(device));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(adapter: &str, driver: &str) -> Table {
        Table {
            adapter: adapter.into(),
            driver: driver.into(),
            melos: env!("CARGO_PKG_VERSION").into(),
            forms: BTreeMap::from([("c".into(), vec!["fast".into(), "slow".into()])]),
        }
    }

    fn empty(adapter: &str, driver: &str) -> Table {
        Table {
            forms: BTreeMap::new(),
            ..table(adapter, driver)
        }
    }

    #[test]
    fn an_answer_needs_every_form_that_is_worth_a_measurement() {
        let table = table("card", "vulkan 1");
        let answer = |names: &[&str], worth| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            table.answer("c", &names, worth)
        };
        assert_eq!(answer(&["slow", "fast"], 2), Some(1));
        assert_eq!(answer(&["slow"], 1), Some(0));
        assert_eq!(answer(&["slow", "new"], 1), Some(0));
        assert_eq!(answer(&["slow", "new"], 2), None);
        assert_eq!(answer(&["new"], 0), None);
    }

    #[test]
    fn a_table_with_one_letter_changed_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache/table.toml");
        table("card", "vulkan 1").save(&path).unwrap();
        let good = fs::read(&path).unwrap();
        let known = || {
            let mut table = empty("card", "vulkan 1");
            table.load(&path);
            table.forms.len()
        };
        assert_eq!(known(), 1);
        for place in 0..good.len() {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(known(), 0, "{place}");
        }
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert_eq!(known(), 0);
    }

    #[test]
    fn what_is_exported_is_imported_by_the_same_device_alone() {
        let text = table("card", "vulkan 1").export().unwrap();
        let mut same = empty("card", "vulkan 1");
        assert_eq!(same.import(&text, "t.toml").unwrap(), 1);
        assert_eq!(same, table("card", "vulkan 1"));
        assert_eq!(from_devices(&text, &same), same);
        let refused =
            |mut device: Table, text: &str| device.import(text, "t.toml").unwrap_err().to_string();
        let error = refused(empty("card", "vulkan 2"), &text);
        assert!(error.contains("nothing for card (vulkan 2)"), "{error}");
        let old = text.replace(env!("CARGO_PKG_VERSION"), "0.0.9");
        let error = refused(empty("card", "vulkan 1"), &old);
        assert!(error.contains("melos 0.0.9"), "{error}");
        let error = refused(empty("card", "vulkan 1"), "[[device]");
        assert!(error.contains("t.toml is not valid TOML"), "{error}");
    }

    #[test]
    fn a_shipped_table_names_kinds_of_devices() {
        let text = table("Radeon", "RADV").export().unwrap();
        let found = |adapter, driver| from_devices(&text, &empty(adapter, driver)).forms.len();
        assert_eq!(found("AMD Radeon RX 7900", "vulkan radv Mesa 25.1"), 1);
        assert_eq!(found("AMD Radeon RX 7900", "vulkan AMD proprietary"), 0);
        assert_eq!(found("Intel Arc", "vulkan radv Mesa 25.1"), 0);
    }

    #[test]
    fn the_table_that_is_shipped_can_be_read() {
        let all: Devices = toml::from_str(SHIPPED).unwrap();
        for table in &all.device {
            assert!(!table.adapter.is_empty() && !table.driver.is_empty());
            assert!(table.forms.values().all(|forms| forms.len() > 1));
        }
        let software = empty(
            "llvmpipe (LLVM 15.0.6, 256 bits)",
            "vulkan llvmpipe Mesa 22.3.6",
        );
        assert!(!shipped(&software).forms.is_empty());
    }
}
