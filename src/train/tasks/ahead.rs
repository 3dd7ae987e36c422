//! Batches made ahead, on a thread of their own, while the device works on those before.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};
use crate::objectives::batch::{Batch, Batches};
use crate::text::Position;

/// A step whose batches are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wanted {
    step: u64,
    /// Steps of the unit in all.
    total: u64,
}

enum Request {
    Make(Wanted),
    Seek(Position),
}

/// A step's batches, and where the data stand after them.
struct Made {
    batches: Vec<Batch>,
    position: Position,
}

/// A stream whose next step is being made while the last one is trained on.
///
/// What comes out is what the stream itself would give, in the same order: a position is that of
/// the next step to be handed out, whatever has been made ahead.
pub(super) struct Ahead {
    requests: Sender<Request>,
    made: Receiver<Made>,
    worker: Option<JoinHandle<()>>,
    position: Position,
    /// The step that was asked for and not fetched yet.
    pending: Option<Wanted>,
}

impl Ahead {
    /// Hands `stream` to a thread; a step has `batches` of its batches.
    ///
    /// # Errors
    /// [`Error::Io`] where the system has no thread left.
    pub fn new(mut stream: Box<dyn Batches>, batches: usize) -> Result<Ahead> {
        let (requests, wanted) = channel();
        let (finished, made) = channel();
        let position = stream.position();
        let worker = move || {
            for request in wanted {
                match request {
                    Request::Seek(position) => stream.seek(position),
                    Request::Make(Wanted { step, total }) => {
                        let made = Made {
                            batches: (0..batches).map(|_| stream.next(step, total)).collect(),
                            position: stream.position(),
                        };
                        if finished.send(made).is_err() {
                            return;
                        }
                    }
                }
            }
        };
        let worker = thread::Builder::new()
            .name("batches".into())
            .spawn(worker)
            .map_err(|e| Error::io("start", "the thread that makes batches", e))?;
        Ok(Ahead {
            requests,
            made,
            worker: Some(worker),
            position,
            pending: None,
        })
    }

    /// The batches of step `step` of `total`; the step after it is begun.
    pub fn step(&mut self, step: u64, total: u64) -> Vec<Batch> {
        let wanted = Wanted { step, total };
        if self.pending != Some(wanted) {
            if self.pending.is_some() {
                // How text is masked depends on the step: another one's batches are of no use.
                self.seek(self.position);
            }
            self.ask(wanted);
        }
        let made = self.fetch();
        self.position = made.position;
        if step < total {
            self.ask(Wanted {
                step: step + 1,
                total,
            });
        }
        made.batches
    }

    /// Where the next step's data begin.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes to a position.
    pub fn seek(&mut self, position: Position) {
        if self.pending.is_some() {
            self.fetch();
        }
        self.position = position;
        self.send(Request::Seek(position));
    }

    fn ask(&mut self, wanted: Wanted) {
        self.send(Request::Make(wanted));
        self.pending = Some(wanted);
    }

    fn send(&mut self, request: Request) {
        if self.requests.send(request).is_err() {
            self.rethrow();
        }
    }

    fn fetch(&mut self) -> Made {
        self.pending = None;
        match self.made.recv() {
            Ok(made) => made,
            Err(_) => self.rethrow(),
        }
    }

    /// The thread ends before its stream only by a panic: it goes on here.
    fn rethrow(&mut self) -> ! {
        match self.worker.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => unreachable!("the thread that makes batches waits for requests"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers: as a batch's length, beside the step that it was made for.
    struct Numbers(u64);

    impl Batches for Numbers {
        fn per_epoch(&self) -> u64 {
            10
        }

        fn work_per_epoch(&self) -> u64 {
            10
        }

        fn next(&mut self, step: u64, _: u64) -> Batch {
            assert!(self.0 < 100, "no more numbers");
            self.0 += 1;
            Batch::new(self.0 as usize, step)
        }

        fn position(&self) -> Position {
            Position {
                index: self.0,
                ..Position::start(0)
            }
        }

        fn seek(&mut self, position: Position) {
            self.0 = position.index;
        }
    }

    fn step(ahead: &mut Ahead, step: u64, total: u64) -> Vec<(u64, usize)> {
        let batches = ahead.step(step, total);
        batches.iter().map(|b| (b.work, b.length)).collect()
    }

    #[test]
    fn batches_are_those_of_the_stream_wherever_it_goes_on() {
        let mut ahead = Ahead::new(Box::new(Numbers(0)), 2).unwrap();
        assert_eq!(step(&mut ahead, 1, 9), [(1, 1), (1, 2)]);
        assert_eq!(step(&mut ahead, 2, 9), [(2, 3), (2, 4)]);
        let position = ahead.position();
        assert_eq!(position.index, 4);
        assert_eq!(step(&mut ahead, 3, 9), [(3, 5), (3, 6)]);
        ahead.seek(position);
        assert_eq!(step(&mut ahead, 3, 9), [(3, 5), (3, 6)]);
        // Not the step that was made ahead: made again.
        assert_eq!(step(&mut ahead, 7, 9), [(7, 7), (7, 8)]);
        assert_eq!(step(&mut ahead, 9, 9), [(9, 9), (9, 10)]);
        assert_eq!(ahead.position().index, 10);
    }

    #[test]
    #[should_panic(expected = "no more numbers")]
    fn a_panic_on_the_thread_comes_out() {
        let mut ahead = Ahead::new(Box::new(Numbers(98)), 2).unwrap();
        ahead.step(1, 3);
        ahead.step(2, 3);
    }
}
