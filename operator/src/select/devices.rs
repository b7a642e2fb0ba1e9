//! `devices` of a mesh: globs, route and port number.

use globset::{Glob, GlobSet, GlobSetBuilder};
use ipnet::IpNet;
use rdmamesh_api::mesh::DeviceSelection;
use rdmamesh_api::node::{PORT_ACTIVE, PortStatus};

use super::addresses;

/// Compiled `devices` of a mesh.
#[derive(Clone, Debug)]
pub struct DeviceFilter {
    include: Option<GlobSet>,
    exclude: GlobSet,
    via_route: Option<IpNet>,
    port: Option<u8>,
}

/// Whether a mesh picks a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// `viaRoute` cannot be judged: the port is down and shows no address.
    Untold,
}

/// Why `devices` is no filter.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFilterError {
    /// A glob cannot be parsed.
    #[error(
        "devices.{field} holds \"{glob}\", which is no glob: write a device name or a pattern such as mlx5_*"
    )]
    Glob {
        /// `include` or `exclude`.
        field: &'static str,
        /// The text.
        glob: String,
        /// What is wrong with it.
        #[source]
        source: globset::Error,
    },
    /// The route cannot be parsed.
    #[error(
        "devices.viaRoute is \"{text}\", which is no address prefix: write for example 10.10.0.0/16"
    )]
    Route {
        /// The text.
        text: String,
        /// What is wrong with it.
        #[source]
        source: ipnet::AddrParseError,
    },
    /// The port number is out of range.
    #[error("devices.port is {0}: write a number from 1 to 255, or leave it out for every port")]
    Port(i32),
}

impl DeviceFilter {
    /// Compiles `devices`.
    ///
    /// # Errors
    /// When a glob, the route or the port number is none.
    pub fn new(spec: &DeviceSelection) -> Result<Self, DeviceFilterError> {
        let include = globs("include", &spec.include)?;
        Ok(Self {
            include: (!spec.include.is_empty()).then_some(include),
            exclude: globs("exclude", &spec.exclude)?,
            via_route: spec.via_route.as_deref().map(route).transpose()?,
            port: spec.port.map(port).transpose()?,
        })
    }

    /// Whether `port` takes part.
    #[must_use]
    pub fn picks(&self, port: &PortStatus) -> Picked {
        let named = self
            .include
            .as_ref()
            .is_none_or(|set| set.is_match(&port.device))
            && !self.exclude.is_match(&port.device)
            && self.port.is_none_or(|number| number == port.port);
        if !named {
            return Picked::No;
        }
        let Some(route) = self.via_route else {
            return Picked::Yes;
        };
        if addresses(port).any(|address| route.contains(&address)) {
            Picked::Yes
        } else if port.state != PORT_ACTIVE && addresses(port).next().is_none() {
            Picked::Untold
        } else {
            Picked::No
        }
    }

    /// The route, where the mesh asks for one.
    #[must_use]
    pub const fn via_route(&self) -> Option<IpNet> {
        self.via_route
    }
}

fn globs(field: &'static str, texts: &[String]) -> Result<GlobSet, DeviceFilterError> {
    let error = |text: &str, source| DeviceFilterError::Glob {
        field,
        glob: text.to_owned(),
        source,
    };
    let mut set = GlobSetBuilder::new();
    for text in texts {
        set.add(Glob::new(text).map_err(|source| error(text, source))?);
    }
    set.build()
        .map_err(|source| error(&texts.join(", "), source))
}

fn route(text: &str) -> Result<IpNet, DeviceFilterError> {
    text.parse().map_err(|source| DeviceFilterError::Route {
        text: text.to_owned(),
        source,
    })
}

fn port(number: i32) -> Result<u8, DeviceFilterError> {
    u8::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or(DeviceFilterError::Port(number))
}

#[cfg(test)]
mod tests {
    use rdmamesh_api::node::GidStatus;

    use super::*;

    fn filter(edit: impl FnOnce(&mut DeviceSelection)) -> DeviceFilter {
        let mut spec = DeviceSelection::default();
        edit(&mut spec);
        DeviceFilter::new(&spec).expect("a valid selection")
    }

    fn port(device: &str, number: u8, gids: &[&str]) -> PortStatus {
        PortStatus {
            device: device.to_owned(),
            port: number,
            state: PORT_ACTIVE.to_owned(),
            gids: gids
                .iter()
                .map(|gid| GidStatus {
                    gid: (*gid).to_owned(),
                    ..GidStatus::default()
                })
                .collect(),
            ..PortStatus::default()
        }
    }

    #[test]
    fn everything_is_picked_by_default() {
        assert_eq!(filter(|_| {}).picks(&port("bnxt_re0", 2, &[])), Picked::Yes);
    }

    #[test]
    fn exclude_beats_include() {
        let filter = filter(|spec| {
            spec.include = vec!["mlx5_*".to_owned()];
            spec.exclude = vec!["mlx5_bond_*".to_owned()];
        });
        assert_eq!(filter.picks(&port("mlx5_3", 1, &[])), Picked::Yes);
        assert_eq!(filter.picks(&port("mlx5_bond_0", 1, &[])), Picked::No);
        assert_eq!(filter.picks(&port("rxe0", 1, &[])), Picked::No);
    }

    #[test]
    fn a_port_number_picks_that_port_only() {
        let filter = filter(|spec| spec.port = Some(2));
        assert_eq!(filter.picks(&port("mlx4_0", 2, &[])), Picked::Yes);
        assert_eq!(filter.picks(&port("mlx4_0", 1, &[])), Picked::No);
    }

    #[test]
    fn a_route_picks_by_ipv4_mapped_and_ipv6_gids() {
        let four = filter(|spec| spec.via_route = Some("10.10.0.0/16".to_owned()));
        assert_eq!(
            four.picks(&port("a", 1, &["fe80::1", "::ffff:10.10.3.4"])),
            Picked::Yes
        );
        assert_eq!(
            four.picks(&port("a", 1, &["fe80::1", "::ffff:10.11.3.4"])),
            Picked::No
        );
        let six = filter(|spec| spec.via_route = Some("fd00:7::/48".to_owned()));
        assert_eq!(six.picks(&port("a", 1, &["fd00:7::5"])), Picked::Yes);
    }

    #[test]
    fn a_port_that_lost_its_address_with_its_link_is_untold() {
        let filter = filter(|spec| spec.via_route = Some("10.10.0.0/16".to_owned()));
        let mut down = port("a", 1, &["fe80::1"]);
        assert_eq!(filter.picks(&down), Picked::No);
        down.state = "Down".to_owned();
        assert_eq!(filter.picks(&down), Picked::Untold);
    }
}
