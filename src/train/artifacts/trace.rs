//! A profile in Chrome's trace event format, for `chrome://tracing` and Perfetto.
//!
//! Format: "Trace Event Format", Google, 2016; complete events (`"ph": "X"`), times in microseconds.

use std::path::Path;

use serde_json::{Value, json};

use crate::atomic::write_file_with;
use crate::device::CommandTime;
use crate::error::Result;
use crate::train::profile::{StageProfile, Timeline};

const STEPS: u32 = 1;
const COMMANDS: u32 = 2;

/// Writes every command of the profiled steps, and the steps above them.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) or [`Error::DiskFull`](crate::Error::DiskFull).
pub fn write(path: &Path, profile: &StageProfile) -> Result<()> {
    let mut events = vec![
        name("process_name", 0, &profile.adapter),
        name("thread_name", STEPS, "steps"),
        name("thread_name", COMMANDS, "commands"),
    ];
    events.extend(timeline(&profile.timeline));
    let trace = json!({ "displayTimeUnit": "ms", "traceEvents": events });
    write_file_with(path, |out| Ok(serde_json::to_writer(out, &trace)?))
}

fn name(what: &str, thread: u32, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": 1, "tid": thread, "args": { "name": name } })
}

fn timeline(timeline: &Timeline) -> Vec<Value> {
    let mut events = Vec::new();
    let mut rest = &timeline.profile.commands[..];
    for (step, count) in (1..).zip(&timeline.steps) {
        let (commands, later) = rest.split_at((*count).min(rest.len()));
        rest = later;
        if let (Some(first), Some(last)) = (commands.first(), commands.last()) {
            let seconds = last.start + last.seconds - first.start;
            let name = format!("step {step}");
            events.push(event(
                &name,
                "step",
                STEPS,
                (first.start, seconds),
                json!({}),
            ));
        }
        events.extend(commands.iter().map(|command| of(command, step)));
    }
    events
}

fn of(command: &CommandTime, step: u64) -> Value {
    let mut args = json!({ "step": step });
    if let Some(flops) = command.counts.flops {
        args["flops"] = flops.into();
    }
    if let Some(bytes) = command.counts.bytes {
        args["bytes"] = bytes.into();
    }
    let kind = match command.name {
        "copy" | "clear" => "memory",
        _ => "kernel",
    };
    let span = (command.start, command.seconds);
    event(command.name, kind, COMMANDS, span, args)
}

fn event(name: &str, kind: &str, thread: u32, (start, seconds): (f64, f64), args: Value) -> Value {
    json!({
        "ph": "X", "name": name, "cat": kind, "pid": 1, "tid": thread,
        "ts": 1e6 * start, "dur": 1e6 * seconds, "args": args,
    })
}
