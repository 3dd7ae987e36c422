//! What a process has used so far, as Linux counts it: a busy machine makes steps longer, but not
//! the processor time that they take.

fn field(path: &str, find: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    find(&std::fs::read_to_string(path).ok()?)
}

/// Seconds of processor time, of all threads.
pub fn cpu_seconds() -> Option<f64> {
    field("/proc/self/stat", |text| {
        // Behind the name in brackets, which may hold spaces: user time stands 12th, system 13th.
        let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
        let ticks: f64 = fields.next()?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        Some((ticks + system) / 100.0)
    })
}

/// The most memory it ever held, in MiB.
pub fn peak_memory() -> Option<f64> {
    field("/proc/self/status", |text| {
        let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0)
    })
}
