//! Lines on standard error that tell a waiting person what the rig is doing, with the seconds since its start.

use std::time::Instant;

/// Prints progress; cheap to clone, all clones share one start time.
#[derive(Clone, Debug)]
pub struct Progress {
    start: Instant,
    quiet: bool,
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            quiet: false,
        }
    }

    /// Says nothing: for tests, whose output is the test runner's.
    pub fn quiet() -> Self {
        Self {
            start: Instant::now(),
            quiet: true,
        }
    }

    /// Prints one line.
    #[expect(
        clippy::print_stderr,
        reason = "progress for the person at the terminal is this type's purpose"
    )]
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            eprintln!(
                "[{:6.1}s] {}",
                self.start.elapsed().as_secs_f64(),
                line.as_ref()
            );
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
