//! Tests against real RDMA devices: soft-RoCE on veth pairs that each test makes for itself, in
//! network namespaces of its own.
//!
//! They need root, `ip`, `rdma`, `tcpdump` and a kernel with per-namespace soft-RoCE (7.1 or
//! later), so they run in the fabric VM with `RDMAMESH_DEVICE_TESTS=1`. Everywhere else each is
//! reported as ignored, by name.

#[expect(
    clippy::print_stdout,
    reason = "what was measured belongs in the report"
)]
mod device {
    pub(super) mod addressing;
    pub(super) mod child;
    pub(super) mod fabric;
    pub(super) mod lifecycle;
    pub(super) mod traffic;
}

use std::process::ExitCode;

use device::{addressing, child, lifecycle, traffic};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test's name and what it does.
type Test = (&'static str, fn() -> Result<(), Failed>);

const TESTS: &[Test] = &[
    (
        "inventory_says_whose_netdev_is_here",
        addressing::inventory_says_whose_netdev_is_here,
    ),
    (
        "gids_of_both_families_are_listed",
        addressing::gids_of_both_families_are_listed,
    ),
    (
        "opening_what_is_not_there_says_so",
        addressing::opening_what_is_not_there_says_so,
    ),
    (
        "a_missing_provider_is_named",
        addressing::a_missing_provider_is_named,
    ),
    (
        "five_thousand_round_trips_lose_nothing_over_ipv4",
        traffic::five_thousand_round_trips_lose_nothing_over_ipv4,
    ),
    (
        "round_trips_lose_nothing_over_ipv6",
        traffic::round_trips_lose_nothing_over_ipv6,
    ),
    (
        "queue_pairs_use_the_predicted_udp_ports",
        traffic::queue_pairs_use_the_predicted_udp_ports,
    ),
    (
        "send_slots_run_out_and_come_back",
        traffic::send_slots_run_out_and_come_back,
    ),
    (
        "unanswered_sends_free_their_slots_without_a_poll",
        traffic::unanswered_sends_free_their_slots_without_a_poll,
    ),
    (
        "bursts_wake_the_sleeper_every_time",
        traffic::bursts_wake_the_sleeper_every_time,
    ),
    ("waiting_costs_no_cpu", traffic::waiting_costs_no_cpu),
    (
        "no_privileges_are_needed",
        traffic::no_privileges_are_needed,
    ),
    (
        "port_down_and_up_are_events",
        lifecycle::port_down_and_up_are_events,
    ),
    (
        "traffic_goes_on_after_a_port_was_down",
        lifecycle::traffic_goes_on_after_a_port_was_down,
    ),
    (
        "address_changes_are_gid_events",
        lifecycle::address_changes_are_gid_events,
    ),
    (
        "a_deleted_link_is_let_go_within_two_seconds",
        lifecycle::a_deleted_link_is_let_go_within_two_seconds,
    ),
    (
        "a_removed_device_fails_softly_until_it_is_dropped",
        lifecycle::a_removed_device_fails_softly_until_it_is_dropped,
    ),
    (
        "a_device_that_is_back_is_taken_up_again",
        lifecycle::a_device_that_is_back_is_taken_up_again,
    ),
    (
        "a_vanished_netdev_ends_the_endpoint",
        lifecycle::a_vanished_netdev_ends_the_endpoint,
    ),
    (
        "dropping_with_everything_in_flight_does_not_hang",
        lifecycle::dropping_with_everything_in_flight_does_not_hang,
    ),
];

fn main() -> ExitCode {
    if let Some(code) = child::main() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // One after another: some delete devices, and the counters of one CPU are measured.
    arguments.test_threads = Some(1);
    let wanted = std::env::var_os("RDMAMESH_DEVICE_TESTS").is_some_and(|value| value == "1");
    let trials = TESTS
        .iter()
        .map(|&(name, test)| Trial::test(name, test).with_ignored_flag(!wanted))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
