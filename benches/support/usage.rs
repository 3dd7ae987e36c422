//! What a process has used so far, as Linux counts it: a busy machine makes steps longer, but not
//! the processor time that they take.

fn field(path: &str, find: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    find(&std::fs::read_to_string(path).ok()?)
}

/// Of `/proc/self/stat` behind the name in brackets, which may hold spaces; times count in 1/100 s.
fn stat(text: &str, index: usize) -> Option<f64> {
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    fields.nth(index)?.parse().ok()
}

/// Seconds of processor time, of all threads.
pub fn cpu_seconds() -> Option<f64> {
    field("/proc/self/stat", |text| {
        let (user, system) = (stat(text, 11)?, stat(text, 12)?);
        Some((user + system) / 100.0)
    })
}

/// Seconds since the process was started.
pub fn age() -> Option<f64> {
    let started = field("/proc/self/stat", |text| stat(text, 19))? / 100.0;
    let now = field("/proc/uptime", |text| {
        text.split_whitespace().next()?.parse().ok()
    })?;
    Some(now - started)
}

/// The most memory it ever held, in MiB.
pub fn peak_memory() -> Option<f64> {
    field("/proc/self/status", |text| {
        let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0)
    })
}
