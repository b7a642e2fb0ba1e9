//! From one state of the fabric to the next, as commands for the guest.

use std::collections::BTreeSet;

use super::desired::{Desired, Impairment};
use crate::fabric::{End, Fabric, script};

/// How long the kernel may take to remove an RDMA device; it waits for programs that keep it open. On a machine with
/// far more to do than processors even a free device takes 15 s (measured), a quiet one under 1 s.
const REMOVE_WITHIN_SECONDS: u32 = 60;
/// Packets that a delaying interface may hold; the kernel's 1000 would itself lose some.
const QUEUE_PACKETS: u32 = 20_000;
/// Processor time of a hogged host, busy loops included: microseconds of each period.
const HOGGED_QUOTA: &str = "20000 100000";
/// Busy loops that compete with a hogged host's own processes.
const HOGS: u32 = 3;

/// The bash script (for -e) that changes the guest's interfaces, RDMA devices and control groups; empty when nothing
/// changes. Agents and host processes are not its business.
pub fn commands(fabric: &Fabric, from: &Desired, to: &Desired) -> String {
    let mut lines = Vec::new();
    // Devices go first and come back last: they need their netdev.
    for (rnic, netdev) in missing_in(&to.removed, &from.removed) {
        lines.push(remove_rnic(rnic, netdev));
    }
    lines.extend(interfaces(fabric, from, to));
    lines.extend(impairments(from, to));
    for (rnic, netdev) in missing_in(&from.removed, &to.removed) {
        lines.push(format!(
            "ip netns exec {} rdma link add {rnic} type rxe netdev {}",
            netdev.netns, netdev.device
        ));
    }
    lines.extend(to.hogged.difference(&from.hogged).map(|host| hog(host)));
    lines.extend(from.hogged.difference(&to.hogged).map(|host| unhog(host)));
    lines.join("\n")
}

fn missing_in<'a>(
    present: &'a std::collections::BTreeMap<String, End>,
    absent: &'a std::collections::BTreeMap<String, End>,
) -> impl Iterator<Item = (&'a String, &'a End)> {
    present
        .iter()
        .filter(|(rnic, _)| !absent.contains_key(*rnic))
}

fn remove_rnic(rnic: &str, netdev: &End) -> String {
    format!(
        "timeout {REMOVE_WITHIN_SECONDS} ip netns exec {} rdma link delete {rnic} || {{ echo \
         'rdma link delete {rnic} did not return within {REMOVE_WITHIN_SECONDS} s: a program keeps the device open' \
         >&2; exit 1; }}",
        netdev.netns
    )
}

/// Sets interfaces down and up; where one comes up, all routes and neighbours of its namespace are put back, since
/// the kernel has dropped those over it.
fn interfaces(fabric: &Fabric, from: &Desired, to: &Desired) -> Vec<String> {
    let set =
        |end: &End, state: &str| format!("ip -n {} link set {} {state}", end.netns, end.device);
    let mut lines: Vec<String> = to
        .down
        .difference(&from.down)
        .map(|end| set(end, "down"))
        .collect();
    let risen: Vec<&End> = from.down.difference(&to.down).collect();
    lines.extend(risen.iter().map(|end| set(end, "up")));
    let namespaces: BTreeSet<&str> = risen.iter().map(|end| end.netns.as_str()).collect();
    for netns in namespaces {
        let forgotten = script::restore(fabric, netns, &to.down).join("\n");
        lines.push(format!("ip -n {netns} -batch - <<'END'\n{forgotten}\nEND"));
    }
    lines
}

fn impairments(from: &Desired, to: &Desired) -> Vec<String> {
    let mut lines = Vec::new();
    for end in from
        .impaired
        .keys()
        .filter(|end| !to.impaired.contains_key(*end))
    {
        lines.push(format!(
            "tc -n {} qdisc delete dev {} root",
            end.netns, end.device
        ));
    }
    for (end, impairment) in &to.impaired {
        if from.impaired.get(end) != Some(impairment) {
            let netem = netem(impairment);
            lines.push(format!(
                "tc -n {} qdisc replace dev {} root {netem}",
                end.netns, end.device
            ));
        }
    }
    lines
}

fn netem(impairment: &Impairment) -> String {
    let mut words = format!("netem limit {QUEUE_PACKETS}");
    if !impairment.delay.is_zero() {
        words.push_str(&format!(" delay {}us", impairment.delay.as_micros()));
        if !impairment.jitter.is_zero() {
            words.push_str(&format!(" {}us", impairment.jitter.as_micros()));
        }
    }
    if impairment.loss > 0.0 {
        words.push_str(&format!(" loss {:.4}%", impairment.loss * 100.0));
    }
    if impairment.corrupt > 0.0 {
        words.push_str(&format!(" corrupt {:.4}%", impairment.corrupt * 100.0));
    }
    words
}

/// Control group of everything that belongs to a host.
pub fn cgroup(host: &str) -> String {
    format!("rig-{host}")
}

fn hog(host: &str) -> String {
    let group = format!("/sys/fs/cgroup/{}", cgroup(host));
    format!(
        "mkdir -p {group}/hog /run/rig\n\
         echo '{HOGGED_QUOTA}' > {group}/cpu.max\n\
         for hog in $(seq {HOGS}); do\n  \
         setsid sh -c 'echo $$ > {group}/hog/cgroup.procs; while :; do :; done' </dev/null >/dev/null 2>&1 &\n  \
         echo $! >> /run/rig/hogs-{host}\ndone"
    )
}

fn unhog(host: &str) -> String {
    format!(
        "echo max > /sys/fs/cgroup/{}/cpu.max\nxargs -a /run/rig/hogs-{host} kill -KILL\nrm /run/rig/hogs-{host}",
        cgroup(host)
    )
}

#[cfg(test)]
mod tests;
