//! `gid` of a mesh: which entry of a port's GID table the probes use.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rdmamesh_api::mesh::{GidFamily, GidSelection, GidType};
use rdmamesh_api::node::{GidStatus, PortStatus};
use rdmamesh_fabric::plan::Address;

use super::{gid_address, is_global};

const INFINIBAND: &str = "InfiniBand";
const ROCE_V2: &str = "RoCEv2";

/// Checked `gid` of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GidChoice {
    kind: GidType,
    family: GidFamily,
    /// `None`: the right one is found on every port.
    index: Option<u16>,
}

/// Why `gid` is no choice.
#[derive(Debug, thiserror::Error)]
#[error("gid.index is \"{0}\": write Auto or a number from 0 to 255")]
pub struct GidChoiceError(String);

impl GidChoice {
    /// Checks `gid`.
    ///
    /// # Errors
    /// When the index is neither `Auto` nor a number from 0 to 255.
    pub fn new(spec: &GidSelection) -> Result<Self, GidChoiceError> {
        let index = match &spec.index {
            IntOrString::String(text) if text == "Auto" => None,
            IntOrString::String(text) => return Err(GidChoiceError(text.clone())),
            IntOrString::Int(number) => match u8::try_from(*number) {
                Ok(index) => Some(u16::from(index)),
                Err(_) => return Err(GidChoiceError(number.to_string())),
            },
        };
        Ok(Self {
            kind: spec.r#type,
            family: spec.family,
            index,
        })
    }

    /// GID index and address of `port`; with a `route`, `Auto` looks for an address in it.
    ///
    /// # Errors
    /// One clause that says why the port cannot take part and what to do, without naming the port.
    pub fn of(&self, port: &PortStatus, route: Option<IpNet>) -> Result<(u16, Address), String> {
        if port.link_layer == INFINIBAND {
            self.infiniband(port)
        } else {
            self.roce(port, route)
        }
    }

    fn infiniband(self, port: &PortStatus) -> Result<(u16, Address), String> {
        if self.kind == GidType::RoCEv2 {
            return Err("it is an InfiniBand port, but gid.type is RoCEv2; set it to Auto or exclude the device".to_owned());
        }
        let lid = port
            .lid
            .filter(|lid| *lid != 0)
            .ok_or("it has no LID yet; is a subnet manager running on this InfiniBand fabric?")?;
        let index = self.index.unwrap_or(0);
        let entry = entry(port, index)?;
        let gid = entry.gid.parse().ok();
        Ok((index, Address::InfiniBand { lid, gid }))
    }

    fn roce(self, port: &PortStatus, route: Option<IpNet>) -> Result<(u16, Address), String> {
        if self.kind == GidType::IB {
            return Err("it is no InfiniBand port, but gid.type is IB; set it to Auto or exclude the device".to_owned());
        }
        let Some(index) = self.index else {
            return self.best(port, route);
        };
        let entry = entry(port, index)?;
        if entry.r#type != ROCE_V2 {
            let others = indices(port.gids.iter().filter(|gid| gid.r#type == ROCE_V2));
            return Err(format!(
                "it has a {} GID at index {index}, not a RoCEv2 one (those are at {others}); set gid.index to Auto",
                entry.r#type
            ));
        }
        let gid: Ipv6Addr = entry.gid.parse().map_err(|_| {
            format!(
                "it has no readable GID at index {index} (\"{}\")",
                entry.gid
            )
        })?;
        Ok((index, Address::Roce(gid)))
    }

    /// The first IPv4-mapped RoCEv2 GID, else the first global IPv6 one, as far as the family allows.
    fn best(self, port: &PortStatus, route: Option<IpNet>) -> Result<(u16, Address), String> {
        let candidates = port.gids.iter().filter(|gid| gid.r#type == ROCE_V2);
        let usable = candidates.filter_map(|gid| {
            let address = gid_address(&gid.gid).filter(|address| is_global(*address))?;
            let routed = route.is_none_or(|route| route.contains(&address));
            (routed && self.allows(address)).then_some((address.is_ipv6(), gid.index, address))
        });
        usable
            .min()
            .map(|(_, index, address)| (index, Address::Roce(mapped(address))))
            .ok_or_else(|| self.nothing(port, route))
    }

    const fn allows(self, address: IpAddr) -> bool {
        match self.family {
            GidFamily::Auto => true,
            GidFamily::IPv4 => address.is_ipv4(),
            GidFamily::IPv6 => address.is_ipv6(),
        }
    }

    fn nothing(self, port: &PortStatus, route: Option<IpNet>) -> String {
        let wanted = match self.family {
            GidFamily::Auto => "an IPv4 or global IPv6 address",
            GidFamily::IPv4 => "an IPv4 address",
            GidFamily::IPv6 => "a global IPv6 address",
        };
        let within = route
            .map(|route| format!(" in {route}"))
            .unwrap_or_default();
        let netdev = port.netdev.as_deref().unwrap_or("its network interface");
        format!("it has no RoCEv2 GID with {wanted}{within}; give {netdev} one")
    }
}

fn entry(port: &PortStatus, index: u16) -> Result<&GidStatus, String> {
    port.gids.iter().find(|gid| gid.index == index).ok_or_else(|| {
        let present = indices(port.gids.iter());
        format!("it has no GID at index {index} (there are {present}); set gid.index to Auto or to one of those")
    })
}

fn indices<'a>(gids: impl Iterator<Item = &'a GidStatus>) -> String {
    let indices: Vec<_> = gids.map(|gid| gid.index.to_string()).collect();
    if indices.is_empty() {
        "none".to_owned()
    } else {
        indices.join(", ")
    }
}

const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests;
