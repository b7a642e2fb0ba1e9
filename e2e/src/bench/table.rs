//! The figures for a person: each with the number to reach and the distance to it.

use std::fmt::Write as _;

use super::Figures;

/// One line of the table.
struct Row {
    key: &'static str,
    what: &'static str,
    unit: &'static str,
    /// The largest value that is good enough.
    goal: Option<f64>,
}

const fn row(key: &'static str, what: &'static str, unit: &'static str, goal: Option<f64>) -> Row {
    Row {
        key,
        what,
        unit,
        goal,
    }
}

const ROWS: &[Row] = &[
    row(
        "rtt_p50_us",
        "network RTT of our probes, median",
        "us",
        None,
    ),
    row(
        "rtt_p99_us",
        "network RTT of our probes, 99th percentile",
        "us",
        None,
    ),
    row(
        "ib_send_lat_p50_us",
        "ib_send_lat -c UD, half a round trip, typical",
        "us",
        None,
    ),
    row(
        "ib_send_lat_p99_us",
        "ib_send_lat -c UD, half a round trip, 99th percentile",
        "us",
        None,
    ),
    row(
        "ib_send_lat_events_p50_us",
        "ib_send_lat -c UD -e, half a round trip, typical",
        "us",
        None,
    ),
    row(
        "ibv_ud_pingpong_us",
        "ibv_ud_pingpong -e, mean round trip",
        "us",
        None,
    ),
    row(
        "rtt_p50_ratio",
        "our median / (2 x ib_send_lat)",
        "",
        Some(1.1),
    ),
    row(
        "rtt_p99_ratio",
        "our 99th percentile / (2 x ib_send_lat)",
        "",
        Some(1.1),
    ),
    row(
        "rtt_p50_ratio_pingpong",
        "our median / ibv_ud_pingpong -e",
        "",
        Some(1.1),
    ),
    row(
        "ib_send_lat_paced_p50_us",
        "ib_send_lat -c UD -e, one per 20 ms, half, typical",
        "us",
        None,
    ),
    row(
        "rtt_p50_ratio_paced",
        "our median / (2 x ib_send_lat at our pace)",
        "",
        Some(1.1),
    ),
    row(
        "rtt_p99_ratio_paced",
        "our 99th percentile / (2 x ib_send_lat at our pace)",
        "",
        Some(1.1),
    ),
    row(
        "rtt_invalid_ratio",
        "round trips with impossible stamps",
        "",
        Some(0.001),
    ),
    row(
        "agent_cpu_us_per_probe",
        "CPU of an agent per probe sent, answering included",
        "us",
        None,
    ),
    row(
        "agent_mcpu_default_mesh",
        "CPU of an agent, default mesh of 4 hosts",
        "mCPU",
        None,
    ),
    row(
        "agent_probes_per_second_default_mesh",
        "probes that it sends for that",
        "1/s",
        None,
    ),
    row(
        "agent_mcpu_8x10x1hz",
        "CPU of an agent, 8 rails x 10 targets x 1 Hz",
        "mCPU",
        Some(20.0),
    ),
    row(
        "agent_probes_per_second_8x10x1hz",
        "probes that it sends for that",
        "1/s",
        None,
    ),
    row("agent_rss_mib", "memory of that agent", "MiB", Some(40.0)),
    row(
        "fault_to_condition_p50_s",
        "lossy link to FabricHealthy False, median",
        "s",
        Some(3.0),
    ),
    row(
        "fault_to_condition_max_s",
        "lossy link to FabricHealthy False, slowest",
        "s",
        Some(3.0),
    ),
    row(
        "clear_to_condition_p50_s",
        "link mended to FabricHealthy True, median",
        "s",
        None,
    ),
    row("plan_1k_s", "plan 1,000 nodes x 8 rails", "s", None),
    row("plan_10k_s", "plan 10,000 nodes x 8 rails", "s", Some(1.0)),
    row(
        "plan_10k_rails_s",
        "the same, rail-optimised",
        "s",
        Some(1.0),
    ),
];

/// The table as text.
pub(super) fn render(figures: &Figures) -> String {
    let mut text = format!(
        "{:<58} {:>12} {:<5} {:>8}  {}\n",
        "figure", "measured", "", "goal", ""
    );
    for row in ROWS {
        let Some(value) = figures.get(row.key) else {
            continue;
        };
        let (goal, distance) = match row.goal {
            None => (String::new(), String::new()),
            Some(goal) if *value <= goal => (format!("<= {goal}"), "reached".to_owned()),
            Some(goal) => (
                format!("<= {goal}"),
                format!("missed by a factor of {:.2}", value / goal),
            ),
        };
        writeln!(
            text,
            "{:<58} {value:>12.3} {:<5} {goal:>8}  {distance}",
            row.what, row.unit
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_to_the_goal_is_stated() {
        let figures = Figures::from([("agent_mcpu_8x10x1hz", 50.0), ("agent_rss_mib", 20.0)]);
        let text = render(&figures);
        assert!(text.contains("<= 20  missed by a factor of 2.50"), "{text}");
        assert!(text.contains("<= 40  reached"), "{text}");
        assert_eq!(
            text.lines().count(),
            3,
            "what was not measured is not shown"
        );
    }
}
