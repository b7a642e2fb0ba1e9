//! Which flows are traced when, which path counts for which window, and what hop probes add up to.

use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::model::{
    FlowSource, OpenPort, Peer, PortActivity, PortHealth, RttHistogram, RttSummary, Tally, Target,
    TimestampMode, TrafficClass,
};

fn at(ms: u64) -> Mono {
    Mono(Duration::from_secs(1000) + Duration::from_millis(ms))
}

fn local() -> LocalPort {
    LocalPort::new("rxe0", 1)
}

fn locals() -> LocalRoutes {
    let route = LocalRoute {
        source: [10, 10, 1, 2].into(),
        netdev: Some("rail1".to_owned()),
    };
    LocalRoutes::from([(local(), route)])
}

/// The local port as the data path sees it.
pub(crate) fn health() -> PortHealth {
    let address: std::net::Ipv4Addr = [10, 10, 1, 2].into();
    PortHealth {
        local: local(),
        state: PortActivity::Probing,
        open: Some(OpenPort {
            gid: Some(address.to_ipv6_mapped()),
            gid_index: 1,
            flow_source: FlowSource::QpNumber,
            distinct_flows: Some(4),
            qpns: vec![17],
            timestamps: TimestampMode::Software,
            generation: 1,
        }),
        planned: true,
    }
}

/// A target in group r2 with one flow per `(source port, routers)`.
pub(crate) fn window(peer: u8, flows: &[(u16, Option<u8>)]) -> TargetWindow {
    let address: std::net::Ipv4Addr = [10, 10, 2, peer].into();
    let target = Target {
        mesh: "m".into(),
        mesh_id: 1,
        class: ProbeClass::InterTor,
        local_group: "r1".into(),
        peer: Peer {
            node: format!("host{peer}").into(),
            device: "rxe0".into(),
            port: 1,
            group: "r2".into(),
            address: FabricAddress::Gid(address.to_ipv6_mapped()),
            control: None,
        },
        traffic_class: TrafficClass {
            name: "default".into(),
            dscp: 26,
            service_level: 0,
        },
        flows: 1,
        seed: 0,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        window: Duration::from_secs(5),
    };
    let flow = |(index, (port, routers)): (usize, &(u16, Option<u8>))| FlowWindow {
        flow: u16::try_from(index).expect("few"),
        source_port: Some(*port),
        routers: *routers,
        tally: Tally::default(),
        rtt: RttSummary::default(),
    };
    TargetWindow {
        local: local(),
        target: Arc::new(target),
        end: SystemTime::UNIX_EPOCH,
        covered: Duration::from_secs(5),
        timestamps: TimestampMode::Software,
        flows: flows.iter().enumerate().map(flow).collect(),
        tally: Tally::default(),
        rtt: RttHistogram::default(),
    }
}

fn router(n: u8) -> Option<IpAddr> {
    Some([10, 11, 0, n].into())
}

fn hops(answers: &[Option<u8>]) -> Vec<Hop> {
    let hop = |(ttl, answer): (u8, &Option<u8>)| Hop {
        ttl,
        sent: 2,
        answered: u16::from(answer.is_some()) * 2,
        address: answer.and_then(router),
        rtt_ns: answer.map(|n| u64::from(n) * 1000),
    };
    (1..).zip(answers).map(hop).collect()
}

struct Desk {
    book: Book,
    windows: Vec<TargetWindow>,
}

impl Desk {
    fn new(windows: Vec<TargetWindow>) -> Self {
        let mut desk = Self {
            book: Book::default(),
            windows,
        };
        desk.follow(0);
        desk
    }

    fn follow(&mut self, ms: u64) {
        self.book.follow(&self.windows, &locals(), at(ms));
    }

    fn requests(&mut self, ms: u64) -> Vec<Request> {
        std::iter::from_fn(|| self.book.next_request(at(ms))).collect()
    }

    fn answer(&mut self, request: &Request, answers: &[Option<u8>], ms: u64) {
        let (id, hops) = (request.id, hops(answers));
        self.book.told(&FromTracer::Traced { id, hops }, at(ms));
    }

    fn path(&self, window: usize, flow: usize, begin_ms: u64) -> Option<Vec<Option<IpAddr>>> {
        let window = &self.windows[window];
        let key = window.target.key();
        let path = self
            .book
            .path(&window.local, &key, &window.flows[flow], at(begin_ms));
        path.map(|path| path.to_vec())
    }

    fn lose(&mut self, way: Way, ms: u64) {
        let lost = LostProbe {
            local: local(),
            target: Arc::clone(&self.windows[0].target),
            flow: 0,
            way,
        };
        let port = self.windows[0].flows[0].source_port;
        self.book.lost(&lost, port, at(ms));
    }
}

const ALL: [Option<u8>; 3] = [Some(1), Some(2), Some(3)];

#[test]
fn every_new_flow_is_traced_up_to_the_last_router_and_no_further() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3)), (50_001, Some(3))])]);
    let requests = desk.requests(0);
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!((request.first, request.last, request.each), (1, 3, 1));
        assert_eq!(request.flow.dscp, 26);
        assert_eq!(request.flow.netdev.as_deref(), Some("rail1"));
        assert_eq!(request.check(), Ok(()));
    }
    assert_eq!(desk.path(0, 0, 0), None, "not traced is not known");
    for request in &requests {
        desk.answer(request, &ALL, 10);
    }
    assert_eq!(
        desk.path(0, 1, 0),
        Some(vec![router(1), router(2), router(3)])
    );
    assert_eq!(
        desk.book.extent(),
        Extent {
            flows: 2,
            traced: 2
        }
    );
    let listed = serde_json::to_value(desk.book.list()).expect("JSON");
    assert_eq!(listed[0]["sourcePort"], 50_000);
    assert_eq!(listed[1]["path"][2], "10.11.0.3");
    assert_eq!(
        desk.requests(30_000),
        [],
        "known paths are left alone for a while"
    );
    assert_eq!(desk.requests(61_000).len(), 2, "and traced again slowly");
}

#[test]
fn a_flow_that_was_never_answered_is_traced_as_far_as_its_neighbours() {
    let desk_of = |flows: &[(u16, Option<u8>)]| {
        let mut desk = Desk::new(vec![window(2, flows), window(3, &[(50_000, None)])]);
        let requests = desk.requests(0);
        requests.iter().map(|r| r.last).collect::<Vec<_>>()
    };
    assert_eq!(desk_of(&[(50_000, Some(3)), (50_001, Some(4))]), [3, 4, 3]);
    let blind = desk_of(&[(50_000, None)]);
    assert!(blind.is_empty(), "nothing is sent without knowing how far");
}

#[test]
fn rnics_on_one_network_have_a_path_without_routers() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(0))])]);
    assert_eq!(desk.requests(0), []);
    assert_eq!(desk.path(0, 0, 0), Some(vec![]));
}

#[test]
fn a_router_that_does_not_answer_is_asked_again_and_then_stays_unknown() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3))])]);
    let mut traces = 0;
    for ms in (0..50_000).step_by(100) {
        for request in desk.requests(ms) {
            traces += 1;
            desk.answer(&request, &[Some(1), None, Some(3)], ms);
        }
    }
    assert_eq!(traces, 5);
    assert_eq!(desk.path(0, 0, 0), Some(vec![router(1), None, router(3)]));
}

#[test]
fn an_address_once_known_outlives_a_trace_in_which_it_is_silent() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3))])]);
    let first = desk.requests(0);
    desk.answer(&first[0], &[Some(1), None, Some(3)], 1);
    let second = desk.requests(400);
    desk.answer(&second[0], &[Some(1), Some(2), None], 401);
    assert_eq!(
        desk.path(0, 0, 0),
        Some(vec![router(1), router(2), router(3)])
    );
}

#[test]
fn a_new_path_counts_for_windows_that_begin_after_it_was_seen() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3))])]);
    let first = desk.requests(0);
    desk.answer(&first[0], &ALL, 1);
    let second = desk.requests(61_000);
    desk.answer(&second[0], &[Some(1), Some(9), None], 61_001);
    let old = Some(vec![router(1), router(2), router(3)]);
    assert_eq!(
        desk.path(0, 0, 60_000),
        old,
        "what was lost then was lost there"
    );
    let new = Some(vec![router(1), router(9), None]);
    assert_eq!(
        desk.path(0, 0, 62_000),
        new,
        "nothing of the old path is guessed into the new"
    );
}

#[test]
fn a_loss_on_the_way_there_makes_a_flow_hot_at_once_and_for_a_window_and_a_bit() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3)), (50_001, Some(3))])]);
    for request in desk.requests(0) {
        desk.answer(&request, &ALL, 1);
    }
    desk.lose(Way::Return, 1000);
    assert_eq!(desk.requests(1000), []);
    desk.lose(Way::Forward, 2000);
    desk.lose(Way::Unknown, 2001);
    let rounds = desk.requests(2001);
    assert_eq!(rounds.len(), 1);
    assert_eq!(rounds[0].flow.source_port, 50_000);
    assert_eq!(
        (rounds[0].first, rounds[0].last, rounds[0].each),
        (1, 3, HOT_EACH)
    );
    desk.answer(&rounds[0], &ALL, 2010);
    assert_eq!(desk.book.next_due(), Some(at(2101)));
    let more: usize = (2100..30_000)
        .step_by(50)
        .map(|ms| {
            let requests = desk.requests(ms);
            requests.iter().for_each(|r| desk.answer(r, &ALL, ms));
            requests.len()
        })
        .sum();
    assert!(
        (40..=70).contains(&more),
        "ten a second for six seconds: {more}"
    );
}

#[test]
fn hop_probes_add_up_by_link_over_flows_and_seconds_of_the_window() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3)), (50_001, Some(3))])]);
    for request in desk.requests(0) {
        let path = match request.flow.source_port {
            50_000 => [Some(1), Some(2), Some(3)],
            _ => [Some(1), Some(4), Some(3)],
        };
        desk.answer(&request, &path, 1);
    }
    assert_eq!(
        desk.book.hop_links(at(0)),
        Links::new(),
        "traces are no hop probes"
    );
    desk.lose(Way::Forward, 2000);
    for (ms, answers) in [(2000, ALL), (3000, [Some(1), Some(2), None])] {
        for request in desk.requests(ms) {
            desk.answer(&request, &answers, ms);
        }
    }
    let links = desk.book.hop_links(at(0));
    let count = |from: LinkStart, to: u8| links[&(from, router(to).expect("one"))];
    let of = |n: u8| LinkStart::Router(router(n).expect("one"));
    let first = count(LinkStart::Local(local()), 1);
    assert_eq!((first.sent, first.answered), (4, 4));
    assert_eq!(first.rtt, Some(Duration::from_micros(1)));
    let last = count(of(2), 3);
    assert_eq!((last.sent, last.answered), (4, 2));
    assert_eq!(links.len(), 3, "only what was probed");
    let later = desk.book.hop_links(at(3000));
    assert_eq!(later[&(of(1), router(2).expect("one"))].sent, 2);
}

#[test]
fn more_hot_flows_than_requests_fit_take_turns() {
    let flows: Vec<_> = (0..60).map(|n| (50_000 + n, Some(3))).collect();
    let mut desk = Desk::new(vec![window(2, &flows)]);
    let key = (local(), desk.windows[0].target.key());
    for (port, _) in &flows {
        let window = Duration::from_secs(5);
        desk.book.heat(&key, Some(*port), window, at(0));
    }
    let mut seen = BTreeSet::new();
    for ms in 0..5 {
        let requests = desk.requests(ms * 20);
        assert!(requests.len() <= MAX_IN_FLIGHT);
        for request in &requests {
            seen.insert(request.flow.source_port);
            desk.answer(request, &ALL, ms * 20);
        }
    }
    assert_eq!(seen.len(), 60);
}

#[test]
fn a_tracer_that_went_away_is_asked_anew_and_one_that_hangs_is_noticed() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3))])]);
    assert_eq!(desk.requests(0).len(), 1);
    assert!(!desk.book.is_overdue(at(19_000)));
    assert!(desk.book.is_overdue(at(20_001)));
    desk.book.disconnected(at(11_000));
    let again = desk.requests(11_000);
    assert_eq!(again.len(), 1);
    let (id, reason) = (again[0].id, "no route".to_owned());
    desk.book
        .told(&FromTracer::Refused { id, reason }, at(11_001));
    assert_eq!(desk.requests(20_000), []);
    assert_eq!(desk.requests(21_001).len(), 1);
}

#[test]
fn a_path_that_became_shorter_ends_before_the_peer() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3))])]);
    let request = desk.requests(0).remove(0);
    let mut hops = hops(&ALL);
    hops[2].address = Some(request.flow.target);
    let id = request.id;
    desk.book.told(&FromTracer::Traced { id, hops }, at(1));
    assert_eq!(desk.path(0, 0, 0), Some(vec![router(1), router(2)]));
}

#[test]
fn a_flow_that_left_the_plan_is_forgotten() {
    let mut desk = Desk::new(vec![window(2, &[(50_000, Some(3))])]);
    let request = desk.requests(0).remove(0);
    desk.windows.clear();
    desk.follow(1000);
    desk.answer(&request, &ALL, 1001);
    assert_eq!(desk.book.extent(), Extent::default());
    assert_eq!(desk.book.next_due(), None);
}
