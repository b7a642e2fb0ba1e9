//! The unsafe half: owners of libibverbs objects.
//!
//! Every object holds a counted reference to what it was made from (queue pair → completion queue →
//! channel → context), so Rust's ownership releases them in the only order that verbs allow.
//! Release never panics: what the library refuses is logged, since a device that has died refuses
//! and there is nothing else to do about it.

pub(crate) mod address;
pub(crate) mod completion_queue;
pub(crate) mod context;
pub(crate) mod queue_pair;
pub(crate) mod region;
mod shim;

use std::io;

pub(crate) use context::device_names;

/// The result of a verb that returns 0 or an errno value. Some providers return −1 and set errno,
/// some a negative errno.
fn check(returned: libc::c_int) -> io::Result<()> {
    match returned {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        code => Err(io::Error::from_raw_os_error(code.saturating_abs())),
    }
}

/// Logs that an object could not be released; the kernel takes it back when the context is closed.
fn log_release(verb: &'static str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(verb, %error, "verbs object not released");
    }
}
