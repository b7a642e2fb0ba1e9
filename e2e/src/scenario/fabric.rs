//! The shape of a scenario's fabric, and the names that follow from it.
//!
//! `leaves` counts leaves per rail: rail r of the hosts of group g hangs on leaf (r-1)·leaves + g, every leaf has one
//! cable to every spine.

use std::fmt;

use serde::Deserialize;

/// Leaf–spine fabric of the given size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct FabricShape {
    /// Leaf switches per rail.
    pub leaves: u32,
    /// Spine switches.
    pub spines: u32,
    /// Hosts under each leaf.
    pub hosts_per_leaf: u32,
    /// RNICs per host, each with leaves of its own.
    pub rails: u32,
}

impl Default for FabricShape {
    fn default() -> Self {
        Self {
            leaves: 2,
            spines: 2,
            hosts_per_leaf: 2,
            rails: 1,
        }
    }
}

/// The RNIC of a host on a rail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `host<n>`.
    pub host: String,
    /// From 1.
    pub rail: u32,
}

/// A cable: `<from>-<to>`, in the order in which the scenario names its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName {
    /// The end named first.
    pub from: String,
    /// The end named second.
    pub to: String,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rail {
            1 => f.write_str(&self.host),
            rail => write!(f, "{}.{rail}", self.host),
        }
    }
}

impl FabricShape {
    /// The shape itself, when a fabric can have it.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub(super) fn check(self) -> Result<Self, String> {
        let counts = [
            ("leaves", self.leaves, 64),
            ("spines", self.spines, 64),
            ("hostsPerLeaf", self.hosts_per_leaf, 64),
            ("rails", self.rails, 16),
        ];
        for (key, count, most) in counts {
            if count == 0 || count > most {
                return Err(format!(
                    "fabric.{key} is {count}: write a number from 1 to {most}"
                ));
            }
        }
        Ok(self)
    }

    /// `host1`, `host2`, …
    pub fn hosts(&self) -> Vec<String> {
        numbered("host", self.leaves * self.hosts_per_leaf)
    }

    /// `leaf1`, …, `spine1`, …
    pub fn switches(&self) -> Vec<String> {
        let mut names = numbered("leaf", self.leaves * self.rails);
        names.extend(numbered("spine", self.spines));
        names
    }

    /// Every cable: hosts to leaves, then leaves to spines.
    pub fn links(&self) -> Vec<LinkName> {
        let mut links = Vec::new();
        for host in 1..=self.leaves * self.hosts_per_leaf {
            let group = (host - 1) / self.hosts_per_leaf + 1;
            for rail in 1..=self.rails {
                let port = HostPort {
                    host: format!("host{host}"),
                    rail,
                };
                links.push(LinkName {
                    from: port.to_string(),
                    to: format!("leaf{}", (rail - 1) * self.leaves + group),
                });
            }
        }
        for leaf in 1..=self.leaves * self.rails {
            for spine in 1..=self.spines {
                links.push(LinkName {
                    from: format!("leaf{leaf}"),
                    to: format!("spine{spine}"),
                });
            }
        }
        links
    }

    /// The link of this name; either end may be named first.
    ///
    /// # Errors
    /// Lists the links there are.
    pub(super) fn link(&self, name: &str) -> Result<LinkName, String> {
        let links = self.links();
        let wanted = name.split_once('-');
        let known = links.iter().any(|link| {
            let ends = (link.from.as_str(), link.to.as_str());
            wanted == Some(ends) || wanted == Some((ends.1, ends.0))
        });
        match wanted {
            Some((from, to)) if known => Ok(LinkName {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            _ => Err(format!(
                "there is no link \"{name}\" in this fabric: write one of {}",
                listed(links.iter().map(LinkName::to_string))
            )),
        }
    }

    /// Checks that a host exists.
    ///
    /// # Errors
    /// Lists the hosts there are.
    pub(super) fn host(&self, name: &str) -> Result<String, String> {
        one_of("host", name, &self.hosts())
    }

    /// Checks that a switch exists.
    ///
    /// # Errors
    /// Lists the switches there are.
    pub(super) fn switch(&self, name: &str) -> Result<String, String> {
        one_of("switch", name, &self.switches())
    }
}

fn one_of(what: &str, name: &str, known: &[String]) -> Result<String, String> {
    if known.iter().any(|one| one == name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "there is no {what} \"{name}\" in this fabric: write one of {}",
        listed(known.iter().cloned())
    ))
}

/// At most a dozen names, so that an error about a large fabric stays readable.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<String> = names.take(SHOWN).collect();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more like them", shown.join(", ")),
    }
}

fn numbered(prefix: &str, count: u32) -> Vec<String> {
    (1..=count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}
