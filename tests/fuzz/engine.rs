//! Runs a target: its seeds as they are, then changed; and watches.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use melos::{Error, Result};
use tempfile::TempDir;

use crate::memory;
use crate::mutation::{Random, input};

/// Reads an input, in a folder where it may write.
pub type Read = Box<dyn Fn(&Path, &[u8]) -> Result<()>>;

/// What reads files of a kind.
pub struct Target {
    /// Whole ones, each of which must be read.
    pub seeds: Vec<Vec<u8>>,
    /// Words of the format.
    pub words: &'static [&'static str],
    /// The reader.
    pub read: Read,
}

/// Inputs in all where `MELOS_FUZZ` does not say.
const INPUTS: u64 = 300_000;
/// Inputs that are changed, at most, and bytes of one that becomes such.
const MOST_SEEDS: usize = 400;
const MOST_BYTES: usize = 1 << 13;
const LONGEST: Duration = Duration::from_secs(10);

/// The input at work, of one target at a time: memory is counted for the whole process.
static WORK: Mutex<Work> = Mutex::new(Work {
    name: String::new(),
    input: Vec::new(),
    own_panic: None,
});
static ONE: Mutex<()> = Mutex::new(());
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Milliseconds after [`START`] at which the input began; 0: none is at work.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// Panics: those of libraries, of which the reader makes errors.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

struct Work {
    name: String,
    input: Vec<u8>,
    /// A panic of melos, which is a failure even where it is caught.
    own_panic: Option<String>,
}

fn work() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(|e| e.into_inner())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file below `tests/fixtures`.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = root().join("tests/fixtures").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Folders in main memory where there are some: files come and go by the thousand.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// Files in one input: each behind a line `@@ NAME`, and a line's end behind it.
pub fn files(input: &[u8]) -> Vec<(String, &[u8])> {
    const MARK: &[u8] = b"@@ ";
    let starts = (0..input.len()).filter(|&at| {
        let begins = at == 0 || input[at - 1] == b'\n';
        begins && input[at..].starts_with(MARK)
    });
    let starts: Vec<usize> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([input.len()]);
    let file = |(&start, end): (&usize, usize)| {
        let text = &input[start + MARK.len()..end];
        let line = text.iter().position(|b| *b == b'\n')?;
        let name = std::str::from_utf8(&text[..line]).ok()?;
        let text = &text[line + 1..];
        Some((name.to_string(), text.strip_suffix(b"\n").unwrap_or(text)))
    };
    starts.iter().zip(ends).filter_map(file).collect()
}

/// The other way round.
pub fn joined(files: &[(&str, &[u8])]) -> Vec<u8> {
    let one =
        |(name, bytes): &(&str, &[u8])| [format!("@@ {name}\n").as_bytes(), bytes, b"\n"].concat();
    files.iter().map(one).collect::<Vec<_>>().concat()
}

/// Writes those files of an input whose names are among `known`.
pub fn write_files(folder: &Path, input: &[u8], known: &[&str]) {
    for name in known {
        let _ = fs::remove_file(folder.join(name));
    }
    for (name, bytes) in files(input) {
        if known.contains(&name.as_str()) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// Of which inputs a reader's sums are made right, so that what lies behind them is read: most.
pub fn most(input: &[u8]) -> bool {
    let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
    !sum.is_multiple_of(8)
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not '{text}'"))
    })
}

/// Keeps targets from being tried, during which the messages of panics are not shown.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Tries a target on its share of the inputs.
pub fn run(name: &str, (share, of): (u64, u64), target: Target) {
    let _alone = alone();
    watch();
    let folder = folder();
    // Panics are caught, and told of where they are failures.
    let hook = take_hook();
    CAUGHT.store(0, Relaxed);
    set_hook(Box::new(|info| {
        CAUGHT.fetch_add(1, Relaxed);
        // Those of melos itself have a path that is not a registry's.
        if info
            .location()
            .is_some_and(|place| place.file().starts_with("src"))
        {
            work().own_panic.get_or_insert_with(|| info.to_string());
        }
    }));
    let failure = catch_unwind(AssertUnwindSafe(|| {
        tried(name, share, of, &target, folder.path())
    }));
    set_hook(hook);
    match failure {
        Ok(None) => {}
        Ok(Some(failure)) => panic!("{failure}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn tried(name: &str, share: u64, of: u64, target: &Target, folder: &Path) -> Option<String> {
    if let Some(path) = std::env::var_os("MELOS_FUZZ_FILE") {
        let input = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let result = one(name, target, folder, &input);
        eprintln!("{name}: {result:?}");
        return result.err();
    }
    for (at, seed) in target.seeds.iter().enumerate() {
        match one(name, target, folder, seed) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Some(format!("{name}: seed {at} is whole, and refused: {error}"));
            }
            Err(failure) => return Some(failure),
        }
    }
    let mut seeds = target.seeds.clone();
    for path in once_failed(name) {
        let input = fs::read(&path).unwrap();
        if let Err(failure) = one(name, target, folder, &input) {
            return Some(failure);
        }
        seeds.push(input);
    }
    let count = (number("MELOS_FUZZ", INPUTS) * share).div_ceil(of);
    let seed = number("MELOS_FUZZ_SEED", 1);
    let (begun, mut read) = (Instant::now(), 0);
    let (mut random, mut known) = (Random::new(name, seed), HashSet::new());
    for number in 0..count {
        let input = input(&seeds, target.seeds.len(), target.words, &mut random);
        match one(name, target, folder, &input) {
            Ok(Ok(())) => read += 1,
            // What is refused for a new reason has come further, and is changed on.
            Ok(Err(error)) => {
                let new = seeds.len() < MOST_SEEDS && known.insert(reason(&error, folder));
                if new && input.len() <= MOST_BYTES {
                    seeds.push(input);
                }
            }
            Err(failure) => return Some(format!("{failure}\n(input {number} of seed {seed})")),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = count as f64 / seconds.max(1e-9);
    let caught = CAUGHT.load(Relaxed);
    eprintln!(
        "{name}: {count} inputs in {seconds:.1} s, {rate:.0} a second; {read} of them could be read; {caught} \
         panics of libraries became errors"
    );
    None
}

/// What an error says, but for numbers and quotes.
fn reason(error: &Error, folder: &Path) -> String {
    let text = error.to_string().replace(&*folder.to_string_lossy(), "");
    let plain = text
        .chars()
        .filter(|c| !c.is_numeric())
        .take(200)
        .collect::<String>();
    let unquoted = plain.split(['\'', '"', '`']).step_by(2);
    unquoted.collect()
}

/// Inputs that failed, before what they found was mended.
fn once_failed(name: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/fixtures/fuzz").join(name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Reads one input: what the reader says of it, or where it fails.
fn one(name: &str, target: &Target, folder: &Path, input: &[u8]) -> Result<Result<()>, String> {
    {
        let mut work = work();
        work.name = name.into();
        input.clone_into(&mut work.input);
    }
    BEGUN.store(START.elapsed().as_millis() as u64 + 1, Relaxed);
    memory::begin();
    let result = catch_unwind(AssertUnwindSafe(|| (target.read)(folder, input)));
    memory::end();
    BEGUN.store(0, Relaxed);
    let own = work().own_panic.take();
    if let Some(said) = own {
        return Err(failure(&said));
    }
    result.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        failure(&format!("panics: {}", said.unwrap_or("without a word")))
    })
}

/// Keeps the input at work, and says how it is tried again.
fn failure(what: &str) -> String {
    let work = work();
    let folder = root().join("target/fuzz");
    let _ = fs::create_dir_all(&folder);
    let path = folder.join(format!("{}-{}", work.name, work.input.len()));
    let kept = fs::write(&path, &work.input);
    format!(
        "{} {what}; the input is in {} ({kept:?}); try it again with\n  MELOS_FUZZ_FILE={} \
         cargo test --release --test fuzz {}\nand keep it in tests/fixtures/fuzz/{}",
        work.name,
        path.display(),
        path.display(),
        work.name,
        work.name
    )
}

/// Ends the process: the input neither returns nor panics.
pub fn give_up(what: &str) -> ! {
    // Past what the harness keeps for a test that ends.
    let _ = writeln!(std::io::stderr(), "{}", failure(what));
    std::process::exit(101)
}

/// Looks each second whether an input takes too long.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        LazyLock::force(&START);
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let begun = BEGUN.load(Relaxed);
                let since = START.elapsed().as_millis() as u64;
                if begun > 0 && since > begun + LONGEST.as_millis() as u64 {
                    give_up("takes more than 10 seconds");
                }
            }
        });
    });
}
