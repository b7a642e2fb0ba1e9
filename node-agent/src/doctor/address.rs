//! Has every port an address that its peers can reach?

use std::net::Ipv6Addr;

use rdmamesh_api::node::{DoctorResult, GidStatus, PortStatus};

use super::{Subject, ill, name, netdev, pass, result, severity};

/// RoCE ports that are there.
fn roce<'a>(subject: &Subject<'a>) -> Vec<&'a PortStatus> {
    let present = subject.present();
    present
        .filter(|port| port.link_layer != "InfiniBand")
        .collect()
}

fn is_v2(gid: &&GidStatus) -> bool {
    gid.r#type == "RoCEv2"
}

/// Whether there is a GID of the kind that crosses routers, and where.
pub(super) fn gid_type(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "GidType";
    let ports = roce(subject);
    let lacking: Vec<&&PortStatus> = ports
        .iter()
        .filter(|port| !port.gids.iter().any(|gid| is_v2(&gid)))
        .collect();
    if let Some(first) = lacking.first() {
        let message: Vec<String> = lacking
            .iter()
            .map(|port| match port.gids.len() {
                0 => format!("{} has no GID", name(port)),
                _ => format!(
                    "{} has RoCE v1 GIDs only, which no router forwards",
                    name(port)
                ),
            })
            .collect();
        let remedy = format!("ip addr add <address>/<prefix> dev {}", netdev(first));
        let outcome = severity(lacking.len(), ports.len());
        return Some(ill(check, outcome, message.join("; "), remedy));
    }
    let trapped: Vec<&&PortStatus> = ports
        .iter()
        .filter(|port| port.gids.iter().any(|gid| gid.index == 0 && !is_v2(&gid)))
        .collect();
    let Some(first) = trapped.first() else {
        let message = "every port has a RoCEv2 GID";
        return (!ports.is_empty()).then(|| pass(check, message));
    };
    let index = best(first).map_or(0, |gid| gid.index);
    let message = format!(
        "every port has a RoCEv2 GID; on {} index 0 is RoCE v1, so that a program that takes index 0 does not get past the first router",
        trapped
            .iter()
            .map(|port| name(port))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let remedy =
        format!("NCCL_IB_GID_INDEX={index} (gid.index Auto of the RdmaMesh finds it by itself)");
    let outcome = rdmamesh_api::node::DoctorOutcome::Pass;
    Some(result(check, outcome, message, Some(remedy)))
}

/// The RoCEv2 GID that applications should use.
fn best(port: &PortStatus) -> Option<&GidStatus> {
    let usable = port.gids.iter().filter(is_v2);
    usable.min_by_key(|gid| (rank(gid), gid.index))
}

/// 0: IPv4, 1: global IPv6, 2: link-local.
fn rank(gid: &GidStatus) -> u8 {
    match gid.gid.parse::<Ipv6Addr>() {
        Ok(address) if address.to_ipv4_mapped().is_some() => 0,
        Ok(address) if !address.is_unicast_link_local() => 1,
        Ok(_) | Err(_) => 2,
    }
}

/// Whether the RoCEv2 GIDs are of a family that can be routed.
pub(super) fn gid_address(subject: &Subject<'_>) -> Option<DoctorResult> {
    let check = "GidAddress";
    let ports = roce(subject);
    let with_v2: Vec<(&PortStatus, u8)> = ports
        .iter()
        .filter_map(|port| Some((*port, rank(best(port)?))))
        .collect();
    let local: Vec<&PortStatus> = with_v2
        .iter()
        .filter(|(_, rank)| *rank == 2)
        .map(|(port, _)| *port)
        .collect();
    if let Some(first) = local.first() {
        let names: Vec<String> = local.iter().map(|port| name(port)).collect();
        let message = format!(
            "{}: link-local RoCEv2 GIDs only, which reach no further than the first router",
            names.join(", ")
        );
        let remedy = format!("ip addr add <address>/<prefix> dev {}", netdev(first));
        let outcome = severity(local.len(), with_v2.len());
        return Some(ill(check, outcome, message, remedy));
    }
    let families = match with_v2.iter().map(|(_, rank)| *rank).max()? {
        0 => "IPv4",
        _ if with_v2.iter().any(|(_, rank)| *rank == 0) => "IPv4, some IPv6 only",
        _ => "IPv6",
    };
    Some(pass(check, format!("RoCEv2 over {families}")))
}
