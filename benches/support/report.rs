//! What a benchmark program measured: a table when it ends, and the same numbers as
//! `target/criterion/melos-<bench>.csv`.

#[allow(dead_code, reason = "`timed.rs` asks for more")]
#[path = "usage.rs"]
mod usage;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use melos::device::{AdapterChoice, Gpu};
use serde::Serialize;

/// Samples that criterion takes of a case, after those that warm up.
const SAMPLES: usize = 10;

/// What a run of a case does, as far as it is known.
#[derive(Default)]
pub struct Work {
    pub flops: Option<f64>,
    pub bytes: Option<f64>,
    pub tokens: Option<usize>,
    /// Device memory; all of the case's where nothing else is said.
    pub peak_bytes: Option<u64>,
    /// Holds activations or operands in f16.
    pub half: bool,
}

/// A line of the file. Rates are of a second, in units of 10⁹ where the name says giga.
#[derive(Serialize)]
struct Row {
    bench: &'static str,
    case: String,
    precision: &'static str,
    /// Of a run: the median of the samples.
    seconds: Option<f64>,
    /// Of a run and of all processors, in the mean.
    cpu_seconds: Option<f64>,
    gigaflops: Option<f64>,
    gigabytes: Option<f64>,
    percent_of_peak: Option<f64>,
    tokens_per_second: Option<f64>,
    peak_bytes: Option<u64>,
    adapter: String,
    driver: String,
    commit: String,
    date: String,
}

/// One sample: runs of a case one after the other.
struct Sample {
    runs: u64,
    seconds: f64,
    cpu_seconds: Option<f64>,
}

pub struct Report {
    bench: &'static str,
    pub gpu: Gpu,
    measured: Vec<(String, Vec<Sample>, Work)>,
}

impl Report {
    /// Of the benchmark program of this name, on the preferred adapter.
    pub fn open(bench: &'static str) -> Report {
        let gpu = Gpu::open(&AdapterChoice::default());
        Report {
            bench,
            gpu: gpu.expect("a GPU adapter; see tools/with-vulkan"),
            measured: Vec::new(),
        }
    }

    /// Times a case as criterion asks: `prepare` makes it, checks it and says what a run does, `run`
    /// queues one. Does nothing where criterion leaves it out.
    pub fn time<T>(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        prepare: impl Fn(&Gpu) -> melos::Result<T>,
        run: impl Fn(&mut T) -> melos::Result<()>,
        work: impl Fn(&T) -> Work,
    ) {
        // In a context of its own, whose memory goes when it is done.
        let gpu = self.gpu.fork();
        let (mut case, mut samples) = (None, Vec::new());
        group.bench_function(name, |bencher| {
            let case = case.get_or_insert_with(|| prepare(&gpu).expect("a correct result"));
            bencher.iter_custom(|runs| {
                gpu.wait().expect("a device");
                let (began, cpu) = (Instant::now(), usage::cpu_seconds());
                for _ in 0..runs {
                    run(case).expect("a run");
                    gpu.flush().expect("a device");
                }
                gpu.wait().expect("a device");
                let took = began.elapsed();
                samples.push(Sample {
                    runs,
                    seconds: took.as_secs_f64(),
                    cpu_seconds: usage::cpu_seconds().zip(cpu).map(|(to, from)| to - from),
                });
                took
            });
        });
        if let Some(case) = &case {
            let mut work = work(case);
            work.peak_bytes.get_or_insert(gpu.memory().peak);
            samples.drain(..samples.len().saturating_sub(SAMPLES));
            self.measured.push((name.into(), samples, work));
        }
    }

    /// Measures the device's ceilings, prints the table and writes the file. Nothing where criterion
    /// only lists the cases or runs each once.
    pub fn finish(self) {
        if self.measured.is_empty() || std::env::args().any(|word| word == "--test") {
            return;
        }
        let rows = self.rows().expect("the device's ceilings");
        println!("\n{} on {}\n", self.bench, self.gpu.caps());
        print_table(&rows);
        match write(self.bench, &rows) {
            Ok(path) => println!("\n{}\n", path.display()),
            Err(error) => println!("\nno file of these numbers: {error}\n"),
        }
    }

    fn rows(&self) -> melos::Result<Vec<Row>> {
        let peak = self.gpu.peak()?;
        let (commit, date) = (commit(), jiff::Timestamp::now().strftime("%F %TZ"));
        let caps = self.gpu.caps();
        let row = |case: &str, seconds: Option<f64>, cpu_seconds, work: &Work| {
            let rate = |work: f64| work / seconds.unwrap_or(1.0);
            let (flops, bytes) = (work.flops.map(rate), work.bytes.map(rate));
            let share = flops.map(|f| f / peak.flops);
            let share = share.or(bytes.map(|b| b / peak.bytes));
            Row {
                bench: self.bench,
                case: case.into(),
                precision: if work.half { "f16" } else { "f32" },
                seconds,
                cpu_seconds,
                gigaflops: flops.map(|f| f / 1e9),
                gigabytes: bytes.map(|b| b / 1e9),
                percent_of_peak: share.map(|share| 100.0 * share),
                tokens_per_second: work.tokens.map(|tokens| rate(tokens as f64)),
                peak_bytes: work.peak_bytes,
                adapter: caps.name.clone(),
                driver: format!("{} {}", caps.backend, caps.driver),
                commit: commit.clone(),
                date: date.to_string(),
            }
        };
        let arithmetic = Work {
            flops: Some(peak.flops),
            ..Work::default()
        };
        let copy = Work {
            bytes: Some(peak.bytes),
            ..Work::default()
        };
        let mut rows = vec![
            row(
                "peak: multiply and add in registers",
                None,
                None,
                &arithmetic,
            ),
            row("peak: copy between two buffers", None, None, &copy),
        ];
        for (case, samples, work) in &self.measured {
            let each = |sample: &Sample| sample.seconds / sample.runs as f64;
            let mut seconds: Vec<f64> = samples.iter().map(each).collect();
            seconds.sort_by(f64::total_cmp);
            let cpu: Option<f64> = samples.iter().map(|s| s.cpu_seconds).sum();
            let runs: u64 = samples.iter().map(|s| s.runs).sum();
            let cpu = cpu.map(|cpu| cpu / runs as f64);
            rows.push(row(
                case,
                seconds.get(seconds.len() / 2).copied(),
                cpu,
                work,
            ));
        }
        Ok(rows)
    }
}

/// Criterion's settings for cases that are timed with [`Report::time`].
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    group
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", 1e3 * s),
        s => format!("{:.2} µs", 1e6 * s),
    }
}

fn print_table(rows: &[Row]) {
    const TITLES: [&str; 8] = [
        "case",
        "time",
        "of processors",
        "GFLOP/s",
        "GB/s",
        "% of peak",
        "tokens/s",
        "peak MiB",
    ];
    let number = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("{value:.digits$}"),
        None => "–".into(),
    };
    let mut lines = vec![TITLES.map(String::from)];
    lines.extend(rows.iter().map(|row| {
        [
            row.case.clone(),
            row.seconds.map_or("–".into(), time),
            row.cpu_seconds.map_or("–".into(), time),
            number(row.gigaflops, 1),
            number(row.gigabytes, 1),
            number(row.percent_of_peak, 0),
            number(row.tokens_per_second, 0),
            number(row.peak_bytes.map(|bytes| bytes as f64 / 1048576.0), 1),
        ]
    }));
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    });
    for line in lines {
        let [case, numbers @ ..] = &line;
        print!("{case:<width$}", width = widths[0]);
        for (cell, width) in numbers.iter().zip(&widths[1..]) {
            print!("  {cell:>width$}");
        }
        println!();
    }
}

/// Beside criterion's own files.
fn write(bench: &str, rows: &[Row]) -> Result<PathBuf, Box<dyn Error>> {
    // target/release/deps/<program>
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).unwrap_or(Path::new("target"));
    let folder = match std::env::var_os("CRITERION_HOME") {
        Some(folder) => folder.into(),
        None => target.join("criterion"),
    };
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("melos-{bench}.csv"));
    let mut file = csv::Writer::from_path(&path)?;
    for row in rows {
        file.serialize(row)?;
    }
    file.flush()?;
    Ok(path)
}

/// Of the sources, with a mark where they were changed since; empty where nobody knows.
fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let said = git.map(|git| String::from_utf8_lossy(&git.stdout).trim().to_string());
    said.unwrap_or_default()
}
