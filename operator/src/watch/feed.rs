//! One task per kind: watch, book into the cache, tell the loops.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::runtime::watcher::{self, ExponentialBackoff};
use kube::runtime::{WatchStreamExt, watcher as watch_kind};
use kube::{Api, Resource};
use tracing::{info, warn};

use super::{Triggers, View, Writer};

/// Told about failures of a watch.
pub trait WatchHealth: Send {
    /// The watch of `kind` failed and will be tried again.
    fn failed(&self, kind: &'static str);
}

/// Watches `api` for ever, books what changes into `writer` and hands on what follows from it.
///
/// The pause between attempts stays below two seconds (jitter included): the first thing that people do after the API
/// server is back is to look at a status.
pub async fn feed<V>(
    kind: &'static str,
    api: Api<V::Object>,
    mut writer: Writer<V>,
    signal: impl Fn(Triggers),
    health: impl WatchHealth,
) where
    V: View,
    V::Object: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(1))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times();
    let events =
        watch_kind(api, watcher::Config::default()).backoff(ExponentialBackoff::from(backoff));
    let mut events = pin!(events);
    let mut failing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if std::mem::take(&mut failing) {
                    info!(kind, "watching again");
                }
                let triggers = writer.apply(event, Timestamp::now());
                if triggers != Triggers::default() {
                    signal(triggers);
                }
            }
            Err(error) => {
                health.failed(kind);
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        kind,
                        error = crate::chain(&error),
                        "watch failed, trying again"
                    );
                }
            }
        }
    }
}
