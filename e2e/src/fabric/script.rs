//! The shell script that builds a fabric in the guest, and the routes that faults must put back.
//!
//! Forks are what costs under software emulation, so everything goes through `ip -batch`: one call for all
//! namespaces and cables, one per namespace for its inside.

use std::collections::BTreeSet;

use super::address;
use super::topology::{End, Fabric, Host};

/// Covers RNICs and cables between switches; everything else of a host goes over the management network.
const FABRIC_PREFIX: &str = "10.10.0.0/15";
/// Policy routing tables of the rails: this plus the rail's number.
const RAIL_TABLE: u16 = 100;
/// Where the batch files lie in the guest.
const FOLDER: &str = "/run/rig/fabric";

/// The whole script, for bash with -e.
pub fn build(fabric: &Fabric) -> String {
    let mut script = format!("mkdir -p {FOLDER}; cd {FOLDER}\n");
    let mut file = |name: &str, lines: &[String]| {
        script.push_str(&format!(
            "cat > {name} <<'END'\n{}\nEND\n",
            lines.join("\n")
        ));
    };
    file("cables", &cables(fabric));
    let switches: Vec<String> = fabric.leaves().into_iter().chain(fabric.spines()).collect();
    for switch in &switches {
        file(switch, &inside(fabric, switch));
    }
    for host in fabric.hosts() {
        file(&host.name, &inside(fabric, &host.name));
        file(&format!("{}.rnics", host.name), &rnics(host));
    }
    file("nat", &[NAT.to_owned()]);
    file("routers", &switches);
    file(
        "hosts",
        &fabric
            .hosts()
            .iter()
            .map(|host| host.name.clone())
            .collect::<Vec<_>>(),
    );
    script.push_str(ASSEMBLE);
    script
}

const NAT: &str = "table ip rig {
  chain uplink {
    type nat hook postrouting priority srcnat
    oifname eth0 masquerade
  }
}";

// Routers hash the five-tuple, so that flows spread over the spines; ICMP errors are not rationed, since path
// tracing lives on them. Nobody here doubles a link-local address: looking for doubles would only delay the GIDs.
// The last loop waits until every RNIC is active and has its IPv4 GID.
const ASSEMBLE: &str = r#"
ip -batch cables
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
nft -f nat
xargs -a routers -P 2 -I @ ip netns exec @ sh -ec '
  for dad in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $dad; done
  sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv4.icmp_ratelimit=0 \
    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  ip -batch @'
xargs -a hosts -P 2 -I @ ip netns exec @ sh -ec '
  for dad in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $dad; done
  sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  ip -batch @
  rdma -b @.rnics'
for try in $(seq 100); do
  ready=1
  for port in /sys/class/infiniband/rxe*/ports/1; do
    read -r state < "$port/state"
    read -r gid < "$port/gids/1" || gid=none
    case "$state $gid" in *ACTIVE\ 0000:0000:0000:0000:0000:ffff:*) ;; *) ready=0 ;; esac
  done
  [ "$ready" = 1 ] && exit 0
  sleep 0.1
done
echo "an RNIC did not become active: $port is $state with GID $gid" >&2
exit 1
"#;

fn cables(fabric: &Fabric) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let hosts = fabric.hosts().iter().map(|host| host.name.clone());
    for netns in hosts.chain(fabric.leaves()).chain(fabric.spines()) {
        lines.push(format!("netns add {netns}"));
    }
    for link in fabric.links() {
        let (lower, upper) = (&link.lower, &link.upper);
        lines.push(format!(
            "link add {} netns {} address {} type veth peer name {} netns {} address {}",
            lower.device,
            lower.netns,
            address::mac(link.addresses.lower),
            upper.device,
            upper.netns,
            address::mac(link.addresses.upper),
        ));
    }
    lines.push("link add mgmt type bridge".to_owned());
    lines.push(format!(
        "addr add {}/16 dev mgmt",
        address::MANAGEMENT_GATEWAY
    ));
    lines.push("link set mgmt up".to_owned());
    for Host { name, .. } in fabric.hosts() {
        lines.push(format!(
            "link add m-{name} type veth peer name mgmt0 netns {name}"
        ));
        lines.push(format!("link set m-{name} master mgmt up"));
    }
    lines
}

/// Addresses, interfaces and routes of one namespace.
fn inside(fabric: &Fabric, netns: &str) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for link in fabric.links() {
        for (end, address) in [
            (&link.lower, link.addresses.lower),
            (&link.upper, link.addresses.upper),
        ] {
            if end.netns == netns {
                lines.push(format!("addr add {address}/30 dev {}", end.device));
                lines.push(format!("link set {} up", end.device));
            }
        }
    }
    if let Ok(host) = fabric.host(netns) {
        lines.push(format!("addr add {}/16 dev mgmt0", host.management));
        lines.push("link set mgmt0 up".to_owned());
        if host.rails.len() > 1 {
            // Each rail's packets leave by its own netdev.
            lines.extend(host.rails.iter().map(|rail| {
                format!(
                    "rule add from {} lookup {}",
                    rail.address,
                    RAIL_TABLE + rail.rail
                )
            }));
        }
    }
    lines.extend(restore(fabric, netns, &BTreeSet::new()));
    lines
}

fn rnics(host: &Host) -> Vec<String> {
    let add = |rail: &super::HostRail| {
        format!("link add {} type rxe netdev {}", rail.rnic, rail.netdev())
    };
    host.rails.iter().map(add).collect()
}

/// `ip -batch` lines that give a namespace all that the kernel forgets when an interface goes down: neighbours and
/// routes. Ends that are down are left out, since the kernel refuses both for them.
pub fn restore(fabric: &Fabric, netns: &str, down: &BTreeSet<End>) -> Vec<String> {
    let mut lines = neighbours(fabric, netns, down);
    lines.extend(routes(fabric, netns, down));
    lines
}

/// Neighbours are fixed: a lossy cable must lose its share of the packets, not the answers to address resolution and
/// with them everything for seconds.
fn neighbours(fabric: &Fabric, netns: &str, down: &BTreeSet<End>) -> Vec<String> {
    let ends = fabric.links().flat_map(|link| {
        let (lower, upper) = (link.addresses.lower, link.addresses.upper);
        [(&link.lower, upper), (&link.upper, lower)]
    });
    ends.filter(|(end, _)| end.netns == netns && !down.contains(*end))
        .map(|(end, peer)| {
            let mac = address::mac(peer);
            format!(
                "neigh replace {peer} lladdr {mac} dev {} nud permanent",
                end.device
            )
        })
        .collect()
}

fn routes(fabric: &Fabric, netns: &str, down: &BTreeSet<End>) -> Vec<String> {
    let is_up = |device: &str| {
        !down.contains(&End {
            netns: netns.to_owned(),
            device: device.to_owned(),
        })
    };
    if let Ok(host) = fabric.host(netns) {
        return host_routes(host, is_up);
    }
    if let Some(leaf) = number(netns, "leaf") {
        return leaf_routes(fabric, leaf, is_up);
    }
    number(netns, "spine").map_or_else(Vec::new, |spine| spine_routes(fabric, spine, is_up))
}

fn number(name: &str, kind: &str) -> Option<u16> {
    name.strip_prefix(kind)?.parse().ok()
}

fn host_routes(host: &Host, is_up: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for rail in host.rails.iter().filter(|rail| is_up(&rail.netdev())) {
        let route = format!(
            "route replace {FABRIC_PREFIX} via {} dev {}",
            rail.gateway,
            rail.netdev()
        );
        if rail.rail == 1 {
            lines.push(route.clone());
        }
        if host.rails.len() > 1 {
            lines.push(format!("{route} table {}", RAIL_TABLE + rail.rail));
        }
    }
    if is_up("mgmt0") {
        lines.push(format!(
            "route replace default via {} dev mgmt0",
            address::MANAGEMENT_GATEWAY
        ));
    }
    lines
}

fn leaf_routes(fabric: &Fabric, leaf: u16, is_up: impl Fn(&str) -> bool) -> Vec<String> {
    let next_hops: String = (1..=fabric.spec().spines)
        .filter(|spine| is_up(&format!("spine{spine}")))
        .map(|spine| {
            format!(
                " nexthop via {} dev spine{spine}",
                address::spine_cable(leaf, spine).upper
            )
        })
        .collect();
    if next_hops.is_empty() {
        return Vec::new();
    }
    all_leaves(fabric)
        .filter(|other| *other != leaf)
        .map(|other| format!("route replace {}{next_hops}", address::leaf_prefix(other)))
        .collect()
}

fn spine_routes(fabric: &Fabric, spine: u16, is_up: impl Fn(&str) -> bool) -> Vec<String> {
    all_leaves(fabric)
        .filter(|leaf| is_up(&format!("leaf{leaf}")))
        .map(|leaf| {
            let gateway = address::spine_cable(leaf, spine).lower;
            format!(
                "route replace {} via {gateway} dev leaf{leaf}",
                address::leaf_prefix(leaf)
            )
        })
        .collect()
}

fn all_leaves(fabric: &Fabric) -> impl Iterator<Item = u16> {
    1..=fabric.spec().leaves * fabric.spec().rails
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::FabricSpec;

    fn fabric(rails: u16) -> Fabric {
        let spec = FabricSpec {
            leaves: 2,
            spines: 2,
            hosts_per_leaf: 1,
            rails,
        };
        Fabric::new(spec).expect("the size is valid")
    }

    fn end(netns: &str, device: &str) -> End {
        End {
            netns: netns.into(),
            device: device.into(),
        }
    }

    #[test]
    fn a_leaf_reaches_another_over_all_its_spines() {
        let all = routes(&fabric(1), "leaf1", &BTreeSet::new());
        let expected = "route replace 10.10.2.0/24 \
                        nexthop via 10.11.1.1 dev spine1 nexthop via 10.11.1.5 dev spine2";
        assert_eq!(all, [expected]);
    }

    #[test]
    fn routes_avoid_what_is_down() {
        let fabric = fabric(1);
        let down = BTreeSet::from([
            end("leaf1", "spine1"),
            end("spine1", "leaf2"),
            end("host1", "rail1"),
        ]);
        let leaf = routes(&fabric, "leaf1", &down);
        assert_eq!(
            leaf,
            ["route replace 10.10.2.0/24 nexthop via 10.11.1.5 dev spine2"]
        );
        let spine = routes(&fabric, "spine1", &down);
        assert_eq!(
            spine,
            ["route replace 10.10.1.0/24 via 10.11.1.2 dev leaf1"]
        );
        let host = routes(&fabric, "host1", &down);
        assert_eq!(host, ["route replace default via 10.12.0.1 dev mgmt0"]);
    }

    #[test]
    fn a_leaf_with_no_spine_left_has_no_route() {
        let down = BTreeSet::from([end("leaf1", "spine1"), end("leaf1", "spine2")]);
        assert!(routes(&fabric(1), "leaf1", &down).is_empty());
    }

    #[test]
    fn each_rail_of_a_host_has_a_table_of_its_own() {
        let fabric = fabric(2);
        let lines = inside(&fabric, "host1");
        for expected in [
            "rule add from 10.10.3.2 lookup 102",
            "route replace 10.10.0.0/15 via 10.10.3.1 dev rail2 table 102",
            "route replace 10.10.0.0/15 via 10.10.1.1 dev rail1",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected} in {lines:#?}"
            );
        }
    }
}
