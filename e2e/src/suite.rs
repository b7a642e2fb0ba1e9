//! Suites of tests that share something slow: an environment, a control plane. Each test is listed by name, and listed
//! as ignored where its rung was not asked for.

mod plane;
mod rig;

use anyhow::Result;
use libtest_mimic::{Failed, Trial};

use crate::rungs;

pub use plane::SharedPlane;
pub use rig::{RigTest, SharedRig, Wanted, play};

/// A test that needs nothing but this machine.
pub fn hermetic(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// A test of a rung, e.g. `T1`; ignored where this run does not ask for the rung.
pub fn of_rung(
    rung: &str,
    name: &str,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    hermetic(name, test)
        .with_kind(rung)
        .with_ignored_flag(!rungs::asked(rung))
}

/// Tests by name: `tests![module::a_test_of_it, …]` lists async functions that take what the suite shares.
#[macro_export]
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |shared| Box::pin($module::$name(shared)))),*]
    };
}
