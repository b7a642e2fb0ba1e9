//! Asynchronous events of an opened device as a typed stream.
//!
//! The endpoint makes the [`EventSource`] and closes it when it is dropped, so that a stream which
//! somebody still holds does not keep a device open that is being removed. Every event is
//! acknowledged as it is taken.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use ibverbs_sys as ffi;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior};

use crate::port::PortNum;
use crate::sys::completion_queue::set_non_blocking;
use crate::sys::context::Context;

/// How often the stream looks whether the device still exists. Not every driver says so before it
/// waits for its users to leave.
const PRESENCE_CHECK: Duration = Duration::from_secs(1);

/// Something happened to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceEvent {
    /// A port went down.
    PortError {
        /// Which.
        port: PortNum,
    },
    /// A port carries traffic (again).
    PortActive {
        /// Which.
        port: PortNum,
    },
    /// The GID table of a port changed; check that the index in use still holds the GID in use.
    GidChange {
        /// Which.
        port: PortNum,
    },
    /// The device is broken or being removed: drop the endpoint at once.
    DeviceFatal,
    /// The subnet manager gave the port another LID.
    LidChange {
        /// Which.
        port: PortNum,
    },
    /// Any other event, by its number in `enum ibv_event_type`.
    Other(u32),
}

impl DeviceEvent {
    fn from_raw(event_type: u32, port: libc::c_int) -> Self {
        let port = u8::try_from(port)
            .ok()
            .and_then(PortNum::new)
            .unwrap_or(PortNum::FIRST);
        match event_type {
            ffi::IBV_EVENT_PORT_ERR => Self::PortError { port },
            ffi::IBV_EVENT_PORT_ACTIVE => Self::PortActive { port },
            ffi::IBV_EVENT_GID_CHANGE => Self::GidChange { port },
            ffi::IBV_EVENT_LID_CHANGE => Self::LidChange { port },
            ffi::IBV_EVENT_DEVICE_FATAL => Self::DeviceFatal,
            other => Self::Other(other),
        }
    }

    /// Whether the endpoint is of no more use: the device, its completion queue or one of its queue
    /// pairs is broken. Drop the endpoint and open another when the device is (still or again)
    /// there.
    #[must_use]
    pub fn ends_endpoint(&self) -> bool {
        matches!(
            self,
            Self::DeviceFatal | Self::Other(ffi::IBV_EVENT_CQ_ERR | ffi::IBV_EVENT_QP_FATAL)
        )
    }
}

/// The context's event descriptor, kept open by the context.
#[derive(Debug)]
struct EventFd(Arc<Context>);

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.async_fd()
    }
}

#[derive(Debug)]
struct State {
    fd: Option<AsyncFd<EventFd>>,
    /// Said once that the device is gone; nothing more can come.
    gone: bool,
    waiting: Option<Waker>,
}

/// The endpoint's side of its event stream.
#[derive(Debug)]
pub(crate) struct EventSource(Arc<Mutex<State>>);

impl EventSource {
    pub(crate) fn new(context: Arc<Context>) -> io::Result<Self> {
        set_non_blocking(context.async_fd())?;
        // SAFETY: the descriptor belongs to the context, which `EventFd` keeps open and never
        // replaces it.
        let fd = unsafe { AsyncFd::register_with_interest(EventFd(context), Interest::READABLE) }?;
        Ok(Self(Arc::new(Mutex::new(State {
            fd: Some(fd),
            gone: false,
            waiting: None,
        }))))
    }

    pub(crate) fn stream(&self) -> AsyncEvents {
        let mut presence = tokio::time::interval(PRESENCE_CHECK);
        presence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        AsyncEvents {
            state: Arc::clone(&self.0),
            presence,
        }
    }

    /// Ends the stream and lets go of the context.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0);
        let fd = state.fd.take();
        let waiting = state.waiting.take();
        drop(state);
        drop(fd);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing in here panics with the lock held; if it did, the state would still be sound.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event stream of one endpoint. It does not keep the device open.
#[derive(Debug)]
pub struct AsyncEvents {
    state: Arc<Mutex<State>>,
    presence: Interval,
}

impl AsyncEvents {
    /// The next event; `None` once the endpoint has been dropped. Cancel safe.
    ///
    /// Also watches that the device still exists: [`DeviceEvent::DeviceFatal`] comes at the latest
    /// a second after its character device disappeared, for drivers that do not send the
    /// event.
    pub async fn next(&mut self) -> Option<DeviceEvent> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<DeviceEvent>> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if let Poll::Ready(event) = poll_events(state, cx) {
            if event == Some(DeviceEvent::DeviceFatal) {
                state.gone = true;
            }
            return Poll::Ready(event);
        }
        while !state.gone && self.presence.poll_tick(cx).is_ready() {
            let present = state
                .fd
                .as_ref()
                .is_some_and(|fd| fd.get_ref().0.is_present());
            if !present {
                state.gone = true;
                return Poll::Ready(Some(DeviceEvent::DeviceFatal));
            }
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn poll_events(state: &State, cx: &mut TaskContext<'_>) -> Poll<Option<DeviceEvent>> {
    let Some(fd) = &state.fd else {
        return Poll::Ready(None);
    };
    loop {
        let mut readable = match fd.poll_read_ready(cx) {
            Poll::Ready(Ok(readable)) => readable,
            // The runtime is shutting down.
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        match fd.get_ref().0.take_event() {
            Ok((event_type, port)) => {
                return Poll::Ready(Some(DeviceEvent::from_raw(event_type, port)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable.clear_ready(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // The kernel has cut the descriptor off from the device. Said once; then the
                // owner's drop ends the stream.
                readable.clear_ready();
                if !state.gone {
                    tracing::info!(%error, "event descriptor of the device is dead");
                    return Poll::Ready(Some(DeviceEvent::DeviceFatal));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_events_become_typed_ones() {
        let port = PortNum::new(2).expect("not zero");
        assert_eq!(
            DeviceEvent::from_raw(ffi::IBV_EVENT_PORT_ERR, 2),
            DeviceEvent::PortError { port }
        );
        assert_eq!(
            DeviceEvent::from_raw(ffi::IBV_EVENT_PORT_ACTIVE, 2),
            DeviceEvent::PortActive { port }
        );
        assert_eq!(
            DeviceEvent::from_raw(ffi::IBV_EVENT_GID_CHANGE, 2),
            DeviceEvent::GidChange { port }
        );
        assert_eq!(
            DeviceEvent::from_raw(ffi::IBV_EVENT_LID_CHANGE, 2),
            DeviceEvent::LidChange { port }
        );
        assert_eq!(
            DeviceEvent::from_raw(ffi::IBV_EVENT_DEVICE_FATAL, 0),
            DeviceEvent::DeviceFatal
        );
        assert_eq!(DeviceEvent::from_raw(4711, -3), DeviceEvent::Other(4711));
    }

    #[test]
    fn a_broken_queue_ends_the_endpoint_and_a_port_change_does_not() {
        assert!(DeviceEvent::DeviceFatal.ends_endpoint());
        assert!(DeviceEvent::Other(ffi::IBV_EVENT_QP_FATAL).ends_endpoint());
        assert!(DeviceEvent::Other(ffi::IBV_EVENT_CQ_ERR).ends_endpoint());
        assert!(
            !DeviceEvent::PortError {
                port: PortNum::FIRST
            }
            .ends_endpoint()
        );
        assert!(!DeviceEvent::Other(ffi::IBV_EVENT_SM_CHANGE).ends_endpoint());
    }
}
