//! Names that a reader of a verdict sees. All are reference-counted text: a plan for 80,000 RNICs holds
//! millions of mentions of them, and cloning one costs no allocation.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(Arc::from(name))
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(Arc::from(name))
            }
        }

        impl From<Arc<str>> for $name {
            fn from(name: Arc<str>) -> Self {
                Self(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a mesh (`RdmaMesh`).
    MeshName
);
name!(
    /// Name of a node.
    NodeName
);
name!(
    /// Name of an RDMA device on its node, for example `mlx5_0`.
    DeviceName
);
name!(
    /// Name of a group of RNICs under one switch: the label's value, with `/rail<n>` behind it in a
    /// rail-optimised fabric, or `(unlabelled)` for nodes that lack the label (no label value can be
    /// written like that, so it never collides).
    GroupName
);

/// An RNIC as a person reads it: `<node>/<device>`, or `<node>/<device>:<port>` for ports other than 1.
///
/// Ordered by node, device, port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RnicName {
    /// Node that holds the device.
    pub node: NodeName,
    /// RDMA device.
    pub device: DeviceName,
    /// Port of the device, from 1.
    pub port: u8,
}

impl RnicName {
    /// Names port `port` of `device` on `node`.
    #[must_use]
    pub fn new(node: impl Into<NodeName>, device: impl Into<DeviceName>, port: u8) -> Self {
        Self {
            node: node.into(),
            device: device.into(),
            port,
        }
    }
}

impl fmt::Display for RnicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.device)?;
        if self.port == 1 {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

/// A text that names no RNIC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an RNIC name: write <node>/<device>, or <node>/<device>:<port> with a port from 1 to 255"
)]
pub struct RnicNameError(pub String);

impl FromStr for RnicName {
    type Err = RnicNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RnicNameError(text.to_owned());
        let (node, rest) = text.split_once('/').ok_or_else(error)?;
        let (device, port) = match rest.rsplit_once(':') {
            Some((device, port)) => (device, port.parse().map_err(|_| error())?),
            None => (rest, 1),
        };
        if node.is_empty() || device.is_empty() || device.contains('/') || port == 0 {
            return Err(error());
        }
        Ok(Self::new(node, device, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_one_is_left_out_and_others_are_written() {
        assert_eq!(RnicName::new("host1", "rxe0", 1).to_string(), "host1/rxe0");
        assert_eq!(
            RnicName::new("host1", "mlx5_0", 2).to_string(),
            "host1/mlx5_0:2"
        );
    }

    #[test]
    fn a_written_name_reads_back() {
        for name in [
            RnicName::new("host1", "rxe0", 1),
            RnicName::new("a.b", "mlx5_bond_0", 2),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn what_is_no_rnic_name_is_refused_with_the_form_to_write() {
        for text in [
            "",
            "host1",
            "/rxe0",
            "host1/",
            "host1/a:0",
            "host1/a:x",
            "h/a/b",
            "h/a:256",
        ] {
            let error = text.parse::<RnicName>().expect_err(text);
            assert!(error.to_string().contains("<node>/<device>"), "{error}");
        }
    }
}
