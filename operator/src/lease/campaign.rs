//! The requests of the election, and the handle by which every writer asks whether it may write.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use rand::Rng;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Election, Step, Timing};

/// Until when this replica may write, if it may at all.
type Term = Option<Instant>;

/// Whether this replica leads. Cheap to ask before every write.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Term>);

impl Leadership {
    /// Whether this replica may write now. False as soon as the lease could not be renewed in time,
    /// also while the campaign itself is stuck in a request.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns once this replica leads.
    pub async fn gained(&mut self) {
        while !self.is_leader() {
            if self.0.changed().await.is_err() {
                // The campaign is over: nobody can become leader any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns once this replica does not lead (any more).
    pub async fn lost(&mut self) {
        loop {
            let term = *self.0.borrow_and_update();
            let Some(until) = term.filter(|until| Instant::now() < *until) else {
                return;
            };
            tokio::select! {
                changed = self.0.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// A replica that always leads, or never does; for tests.
    #[cfg(test)]
    pub(crate) fn fixed(leads: bool) -> (watch::Sender<Term>, Self) {
        let until = leads.then(|| Instant::now() + Duration::from_secs(3600));
        let (sender, receiver) = watch::channel(until);
        (sender, Self(receiver))
    }
}

/// Runs for the lease until cancelled, then gives it up.
pub struct Campaign {
    api: Api<Lease>,
    name: String,
    timing: Timing,
    election: Election,
    term: watch::Sender<Term>,
    /// The last round failed, and that was told.
    failing: bool,
}

/// Why a round of the campaign failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("failed to read the lease")]
    Read(#[source] kube::Error),
    #[error("failed to create the lease: does the namespace of --lease-namespace exist?")]
    Create(#[source] kube::Error),
    #[error("failed to renew the lease")]
    Renew(#[source] kube::Error),
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
}

impl Campaign {
    /// A campaign of `identity` for `namespace/name`, and the handle to ask.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
    ) -> (Self, Leadership) {
        let (term, receiver) = watch::channel(None);
        let campaign = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            timing,
            election: Election::new(namespace, name, identity, timing),
            term,
            failing: false,
        };
        (campaign, Leadership(receiver))
    }

    /// Runs until `stop`; then steps down and releases the lease.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = self
                .timing
                .retry
                .mul_f64(rand::rng().random_range(0.8..1.2));
            tokio::select! {
                () = self.round() => {}
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        let led = self.term.send_replace(None).is_some();
        if led {
            self.release().await;
        }
    }

    async fn round(&mut self) {
        // The term counts from before the request: the server may have booked it any time since.
        let asked = Instant::now();
        let outcome = tokio::time::timeout(self.timing.renew_deadline / 2, self.attempt());
        let outcome = outcome
            .await
            .unwrap_or(Err(RoundError::Timeout(self.timing.renew_deadline / 2)));
        let led = self.term.borrow().is_some();
        if outcome.is_ok() && std::mem::take(&mut self.failing) {
            info!(lease = %self.name, "the lease can be read and written again");
        }
        match outcome {
            Ok(true) => {
                self.term
                    .send_replace(Some(asked + self.timing.renew_deadline));
                if !led {
                    info!(lease = %self.name, "leading");
                }
            }
            Ok(false) => {
                self.term.send_replace(None);
                if led {
                    warn!(holder = self.election.holder(), "lost the lease");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// A failed round keeps the running term: it ends by itself at the renew deadline.
    fn failed(&mut self, error: &RoundError) {
        let over = self
            .term
            .borrow()
            .is_some_and(|until| Instant::now() >= until);
        if over {
            self.term.send_replace(None);
            warn!(
                error = crate::chain(error),
                "could not renew the lease in time, stopped leading"
            );
        } else if std::mem::replace(&mut self.failing, true) {
            debug!(error = crate::chain(error), "election round failed again");
        } else {
            warn!(
                error = crate::chain(error),
                "election round failed, trying again"
            );
        }
    }

    /// One read and at most one compare-and-swap; whether the lease is ours afterwards.
    async fn attempt(&mut self) -> Result<bool, RoundError> {
        let record = self
            .api
            .get_opt(&self.name)
            .await
            .map_err(RoundError::Read)?;
        let step = self
            .election
            .step(record.as_ref(), Instant::now(), Timestamp::now());
        let params = PostParams::default();
        let (written, failed): (_, fn(kube::Error) -> RoundError) = match step {
            Step::Wait => return Ok(false),
            Step::Create(lease) => (self.api.create(&params, &lease).await, RoundError::Create),
            Step::Replace(lease) => {
                let replaced = self.api.replace(&self.name, &params, &lease).await;
                (replaced, RoundError::Renew)
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody was faster. If it was ourselves (an answer that got lost), the next round sees it.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn release(&self) {
        let release = async {
            let record = self.api.get_opt(&self.name).await?;
            if let Some(free) = record.and_then(|r| self.election.release(&r, Timestamp::now())) {
                self.api
                    .replace(&self.name, &PostParams::default(), &free)
                    .await?;
                info!(lease = %self.name, "released the lease");
            }
            Ok::<(), kube::Error>(())
        };
        // Bounded: the process must be gone within 5 s of SIGTERM; others take over by expiry anyway.
        match tokio::time::timeout(Duration::from_secs(2), release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = crate::chain(&error), "failed to release the lease"),
            Err(_) => warn!("the API server did not answer in time, the lease runs out by itself"),
        }
    }
}

#[cfg(test)]
mod tests;
