//! The cache's promises, and the pace of the loops.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::ObjectMeta;
use tokio::time::Instant;

use super::*;

fn node(name: &str, label: &str) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([("l".to_owned(), label.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

fn writer() -> (Writer<NodeView>, Arc<Cache<NodeView>>) {
    let cache = Arc::new(Cache::default());
    (Writer::new(Arc::clone(&cache)), cache)
}

fn names(cache: &Cache<NodeView>) -> Vec<String> {
    cache.snapshot().keys().cloned().collect()
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn nothing_is_shown_of_a_list_that_is_not_complete() {
    let (mut writer, cache) = writer();
    writer.apply(Event::Init, NOW);
    writer.apply(Event::InitApply(node("a", "1")), NOW);
    assert!(!cache.is_synced());
    assert!(names(&cache).is_empty());
    assert!(writer.apply(Event::InitDone, NOW).plan);
    assert!(cache.is_synced());
    assert_eq!(names(&cache), ["a"]);
}

#[test]
fn a_new_list_removes_what_is_gone_and_says_so() {
    let (mut writer, cache) = writer();
    for name in ["a", "b"] {
        writer.apply(Event::Apply(node(name, "1")), NOW);
    }
    writer.apply(Event::Init, NOW);
    writer.apply(Event::InitApply(node("b", "1")), NOW);
    assert_eq!(
        names(&cache),
        ["a", "b"],
        "the old copy stands until the list is complete"
    );
    assert!(writer.apply(Event::InitDone, NOW).plan);
    assert_eq!(names(&cache), ["b"]);
}

#[test]
fn a_new_list_of_the_same_objects_wakes_nobody() {
    let (mut writer, _cache) = writer();
    writer.apply(Event::Apply(node("a", "1")), NOW);
    writer.apply(Event::Init, NOW);
    writer.apply(Event::InitApply(node("a", "1")), NOW);
    assert_eq!(writer.apply(Event::InitDone, NOW), Triggers::default());
}

#[test]
fn a_snapshot_does_not_change_under_its_reader() {
    let (mut writer, cache) = writer();
    writer.apply(Event::Apply(node("a", "1")), NOW);
    let before = cache.snapshot();
    assert!(writer.apply(Event::Delete(node("a", "1")), NOW).plan);
    assert_eq!(before.len(), 1);
    assert!(names(&cache).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_burst_settles_after_a_quiet_moment() {
    let signals = Signals::default();
    let mut planning = signals.planning();
    let start = Instant::now();
    let burst = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            signals.raise(Triggers {
                plan: true,
                ..Triggers::default()
            });
        }
    };
    let settled = settle(
        &mut planning,
        Duration::from_millis(500),
        Duration::from_secs(2),
    );
    tokio::join!(burst, settled);
    assert_eq!(start.elapsed(), Duration::from_millis(800));
    assert_eq!(planning.borrow().plan, 3);
}

#[tokio::test(start_paused = true)]
async fn noise_without_end_delays_no_longer_than_the_limit() {
    let signals = Signals::default();
    let mut planning = signals.planning();
    let start = Instant::now();
    let noise = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            signals.raise(Triggers {
                drift: true,
                ..Triggers::default()
            });
        }
    };
    tokio::select! {
        () = noise => {}
        () = settle(&mut planning, Duration::from_millis(500), Duration::from_secs(2)) => {}
    }
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[test]
fn reports_wake_the_judge_and_not_the_planner() {
    let signals = Signals::default();
    let (planning, judging) = (signals.planning(), signals.judging());
    signals.raise(Triggers {
        judge: true,
        ..Triggers::default()
    });
    assert!(!planning.has_changed().expect("the sender lives"));
    assert!(judging.has_changed().expect("the sender lives"));
}
