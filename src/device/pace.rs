//! How much work goes into one submission.
//!
//! Windows takes a GPU that is busy with one submission for two seconds for a dead one, and
//! elsewhere a long one freezes the screen. So commands are sent in parts of about half a second
//! each: their work is counted by their contracts, and how much of it the device does in a
//! second is measured from one finished submission to the next.

use std::time::{Duration, Instant};

/// Seconds of one submission.
const SHARE: f64 = 0.5;
/// Work a second before anything was measured: that of a slow integrated GPU.
const FIRST: f64 = 20e9;
/// The least work that is worth a submission, whatever was measured: a host that looks late for
/// what is finished sees a slow device.
const LEAST: f64 = 1e9;
/// Finished within less time than this, submissions are measured together.
const TICK: Duration = Duration::from_millis(5);
/// What remains of older measurements at each new one.
const MEMORY: f64 = 0.7;

/// What is known of a device's speed.
#[derive(Default)]
pub(super) struct Pace {
    /// Work and seconds, older ones fading.
    done: (f64, f64),
    /// Finished too soon to be measured alone: work, and when the first of it began.
    pending: Option<(f64, Instant)>,
    /// When a submission was last seen to be finished.
    seen: Option<Instant>,
}

impl Pace {
    /// The most work of one submission.
    pub fn submission(&self) -> f64 {
        let measured = match self.done {
            (work, seconds) if seconds > 0.0 => work / seconds,
            _ => FIRST,
        };
        (SHARE * measured).max(LEAST)
    }

    /// Takes in that a submission of so much work is finished.
    pub fn finished(&mut self, work: f64, sent: Instant, now: Instant) {
        // Before it was sent the device may have had nothing to do.
        let start = self.seen.map_or(sent, |seen| seen.max(sent));
        self.seen = Some(now);
        let (before, start) = self.pending.unwrap_or((0.0, start));
        let took = now.saturating_duration_since(start);
        if took < TICK {
            self.pending = Some((before + work, start));
            return;
        }
        self.pending = None;
        self.done.0 = MEMORY * self.done.0 + before + work;
        self.done.1 = MEMORY * self.done.1 + took.as_secs_f64();
    }
}

/// Cuts what stands in a row into parts of at most so much work each, none empty; what is larger
/// alone is a part of its own.
pub(super) fn parts<T>(items: &[T], most: f64, work: impl Fn(&T) -> f64) -> Vec<&[T]> {
    let mut parts = Vec::new();
    let (mut first, mut sum) = (0, 0.0);
    for (index, item) in items.iter().enumerate() {
        let work = work(item);
        if sum + work > most && index > first {
            parts.push(&items[first..index]);
            (first, sum) = (index, 0.0);
        }
        sum += work;
    }
    if first < items.len() {
        parts.push(&items[first..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_everything_in_order_within_the_bound() {
        let cut = |most| -> Vec<Vec<u32>> {
            let parts = parts(&[3, 1, 4, 1, 5, 9, 2], most, |&w| f64::from(w));
            parts.into_iter().map(<[u32]>::to_vec).collect()
        };
        assert_eq!(cut(100.0), [vec![3, 1, 4, 1, 5, 9, 2]]);
        assert_eq!(
            cut(5.0),
            [vec![3, 1], vec![4, 1], vec![5], vec![9], vec![2]]
        );
        assert_eq!(cut(0.0).len(), 7);
        assert!(parts(&[] as &[u32], 1.0, |_| 1.0).is_empty());
    }

    #[test]
    fn the_pace_is_that_of_what_was_finished_while_the_device_was_busy() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        assert_eq!(pace.submission(), SHARE * FIRST);
        // Two sent at once and finished after 100 and 300 ms: 40e9 a second.
        pace.finished(4e9, at(0), at(100));
        pace.finished(8e9, at(0), at(300));
        assert!((pace.submission() / (SHARE * 40e9) - 1.0).abs() < 1e-9);
        // A pause is not counted.
        pace.finished(4e9, at(9_000), at(9_100));
        assert!((pace.submission() / (SHARE * 40e9) - 1.0).abs() < 1e-9);
        // Two that are seen at once are measured as one: the time went to both.
        pace.finished(2e9, at(9_100), at(9_200));
        pace.finished(2e9, at(9_100), at(9_200));
        pace.finished(4e9, at(9_100), at(9_300));
        let found = pace.submission() / (SHARE * 40e9);
        assert!((0.8..1.2).contains(&found), "{found}");
    }

    #[test]
    fn a_device_that_becomes_slower_is_sent_less_but_never_nothing() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut now = start;
        for _ in 0..20 {
            let sent = now;
            now += Duration::from_secs(10);
            pace.finished(1e9, sent, now);
        }
        assert_eq!(pace.submission(), LEAST);
        for _ in 0..20 {
            let sent = now;
            now += Duration::from_millis(100);
            pace.finished(1e12, sent, now);
        }
        assert!(pace.submission() > SHARE * 0.9e13);
    }

    #[test]
    fn many_short_submissions_are_measured_together() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        for ms in 0..60 {
            pace.finished(1e8, at(ms), at(ms + 1));
        }
        assert!((pace.submission() / (SHARE * 1e11) - 1.0).abs() < 1e-9);
    }
}
