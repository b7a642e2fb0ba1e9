//! Compact copies of the four watched kinds, and what a change of one means.
//!
//! Own cache instead of kube's reflector store, because a copy here is a *view*: of an assignment with a
//! thousand targets only hashes are kept, of a Node only labels and state. 10,000 whole objects of each
//! kind would not fit the operator's memory budget.

mod assignment;
mod feed;
mod flaps;
mod inventory;
mod mesh;
mod node;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

pub use assignment::{AssignmentView, EntryView, digest};
pub use feed::{WatchHealth, feed};
pub use flaps::Flaps;
pub use inventory::InventoryView;
pub use mesh::MeshView;
pub use node::{ConditionView, Marks, NO_SCHEDULE, NodeView, is_ours};

/// What has to be done after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    /// The plan may be another one.
    pub plan: bool,
    /// Assignments may differ from the plan.
    pub drift: bool,
    /// The verdict may be another one.
    pub judge: bool,
    /// What suspects have as consequences may differ from what it should be.
    pub act: bool,
}

impl Triggers {
    /// What either asks for.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            plan: self.plan || other.plan,
            drift: self.drift || other.drift,
            judge: self.judge || other.judge,
            act: self.act || other.act,
        }
    }
}

/// What the operator keeps of an object.
pub trait View: Sized + Send + Sync + 'static {
    /// The object as the API server sends it.
    type Object;

    /// The view of `object`, read at `now`.
    fn of(object: Self::Object, now: Timestamp) -> Self;

    /// The view, knowing the one that it replaces at `now`.
    #[must_use]
    fn following(self, _previous: &Self, _now: Timestamp) -> Self {
        self
    }

    /// Name of the object. All watched kinds are cluster-scoped.
    fn name(&self) -> &str;

    /// What follows from `old` having become `new`; `None` means absent.
    fn triggers(old: Option<&Self>, new: Option<&Self>) -> Triggers;
}

/// Views by name.
pub type Views<V> = BTreeMap<String, Arc<V>>;

/// A copy of one kind. Readers take snapshots; there is one writer.
#[derive(Debug)]
pub struct Cache<V> {
    views: RwLock<Arc<Views<V>>>,
    synced: watch::Sender<bool>,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self {
            views: RwLock::default(),
            synced: watch::Sender::new(false),
        }
    }
}

impl<V> Cache<V> {
    /// All views as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Views<V>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&views)
    }

    /// Whether the first list is complete.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Returns once the first list is complete.
    pub async fn synced(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        self.synced
            .subscribe()
            .wait_for(|synced| *synced)
            .await
            .ok();
    }

    /// Makes `views` the copy, complete; for tests.
    #[cfg(test)]
    pub(crate) fn fill(&self, views: Views<V>) {
        self.update(|all| *all = views);
        self.synced.send_replace(true);
    }

    fn update(&self, change: impl FnOnce(&mut Views<V>)) {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut views));
    }
}

/// The one writer of a [`Cache`].
#[derive(Debug)]
pub struct Writer<V> {
    cache: Arc<Cache<V>>,
    /// Objects of a list under way; replaces the whole copy when it is complete.
    listing: Views<V>,
}

impl<V: View> Writer<V> {
    /// A writer of `cache`.
    #[must_use]
    pub const fn new(cache: Arc<Cache<V>>) -> Self {
        Self {
            cache,
            listing: Views::new(),
        }
    }

    /// Books a watch event; what follows from it.
    pub fn apply(&mut self, event: Event<V::Object>, now: Timestamp) -> Triggers {
        match event {
            Event::Init => {
                self.listing.clear();
                Triggers::default()
            }
            Event::InitApply(object) => {
                let view = self.view(object, now);
                self.listing.insert(view.name().to_owned(), Arc::new(view));
                Triggers::default()
            }
            Event::InitDone => self.replace_all(),
            Event::Apply(object) => {
                let view = Arc::new(self.view(object, now));
                let old = self.cache.snapshot().get(view.name()).cloned();
                let triggers = V::triggers(old.as_deref(), Some(&view));
                self.cache.update(|views| {
                    views.insert(view.name().to_owned(), view);
                });
                triggers
            }
            Event::Delete(object) => {
                let view = V::of(object, now);
                let mut old = None;
                self.cache.update(|views| old = views.remove(view.name()));
                V::triggers(old.as_deref(), None)
            }
        }
    }

    fn view(&self, object: V::Object, now: Timestamp) -> V {
        let view = V::of(object, now);
        // Most views need nothing of their predecessor, and its name is known only now.
        match self.cache.snapshot().get(view.name()) {
            Some(previous) => view.following(previous, now),
            None => view,
        }
    }

    fn replace_all(&mut self) -> Triggers {
        let new = std::mem::take(&mut self.listing);
        let old = self.cache.snapshot();
        let mut triggers = Triggers::default();
        for (name, view) in &new {
            let before = old.get(name).map(AsRef::as_ref);
            triggers = triggers.or(V::triggers(before, Some(view)));
        }
        for (name, view) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            debug_assert_eq!(name, view.name());
            triggers = triggers.or(V::triggers(Some(view), None));
        }
        self.cache.update(|views| *views = new);
        self.cache.synced.send_replace(true);
        triggers
    }
}

/// The copies of all kinds.
#[derive(Clone, Debug, Default)]
pub struct Caches {
    /// Meshes.
    pub meshes: Arc<Cache<MeshView>>,
    /// Nodes.
    pub nodes: Arc<Cache<NodeView>>,
    /// Inventories.
    pub inventories: Arc<Cache<InventoryView>>,
    /// Assignments.
    pub assignments: Arc<Cache<AssignmentView>>,
}

impl Caches {
    /// Kinds whose first list is not complete yet.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = [
            ("RdmaMesh", self.meshes.is_synced()),
            ("Node", self.nodes.is_synced()),
            ("RdmaNode", self.inventories.is_synced()),
            ("RdmaProbeAssignment", self.assignments.is_synced()),
        ];
        kinds
            .into_iter()
            .filter_map(|(kind, synced)| (!synced).then_some(kind))
            .collect()
    }

    /// Returns once every first list is complete. Before that nobody can tell "gone" from "not listed yet".
    pub async fn synced(&self) {
        self.meshes.synced().await;
        self.nodes.synced().await;
        self.inventories.synced().await;
        self.assignments.synced().await;
    }
}

/// How the watches wake the loops: counters that only grow, so that nothing is missed and waking twice
/// costs nothing.
#[derive(Clone, Debug)]
pub struct Signals {
    planning: watch::Sender<Asked>,
    judging: watch::Sender<u64>,
    acting: watch::Sender<u64>,
}

/// What was asked of the planning loop so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Times that a new plan was asked for.
    pub plan: u64,
    /// Times that a comparison with the assignments was asked for.
    pub drift: u64,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            planning: watch::Sender::new(Asked::default()),
            judging: watch::Sender::new(0),
            acting: watch::Sender::new(0),
        }
    }
}

impl Signals {
    /// Wakes who has to act.
    pub fn raise(&self, triggers: Triggers) {
        if triggers.plan || triggers.drift {
            self.planning.send_modify(|asked| {
                asked.plan += u64::from(triggers.plan);
                asked.drift += u64::from(triggers.drift);
            });
        }
        if triggers.judge {
            self.judging.send_modify(|count| *count += 1);
        }
        if triggers.act {
            self.acting.send_modify(|count| *count += 1);
        }
    }

    /// For the planning loop.
    #[must_use]
    pub fn planning(&self) -> watch::Receiver<Asked> {
        self.planning.subscribe()
    }

    /// For the judging loop.
    #[must_use]
    pub fn judging(&self) -> watch::Receiver<u64> {
        self.judging.subscribe()
    }

    /// For the acting loop.
    #[must_use]
    pub fn acting(&self) -> watch::Receiver<u64> {
        self.acting.subscribe()
    }
}

/// Returns once `signal` has been quiet for `quiet`, but no later than after `longest`.
pub async fn settle<T>(
    signal: &mut watch::Receiver<T>,
    quiet: std::time::Duration,
    longest: std::time::Duration,
) {
    let deadline = tokio::time::Instant::now() + longest;
    loop {
        signal.mark_unchanged();
        let pause = tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + quiet));
        tokio::select! {
            () = pause => return,
            changed = signal.changed() => {
                if changed.is_err() || tokio::time::Instant::now() >= deadline {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
