//! What may be at fault, and what flows saw of it.

use std::collections::BTreeMap;

use thiserror::Error;

use super::prepare::Maybe;

/// One thing that may be at fault: a component, a cable or a group of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub(super) u32);

impl ComponentId {
    /// Position among the ids of its network, in the order in which they were made.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a component is. Faults of one kind are equally likely before anything is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A link, one direction of it, or both.
    Link,
    /// An RNIC.
    Rnic,
    /// A switch: by itself, or a share of its links.
    Switch,
    /// A host: its RNICs or links together.
    Host,
    /// Something that loses packets and is nobody's fault, such as a router that answers ICMP rarely. It
    /// explains losses and is never a suspect.
    Nuisance,
}

/// Why an observation or a component was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// More packets lost than sent.
    #[error("{lost} packets lost of {sent} sent; count packets so that lost is at most sent")]
    LostMoreThanSent {
        /// Packets sent.
        sent: u64,
        /// Packets lost.
        lost: u64,
    },
    /// A flow crosses a cable or a group; it must name what it crosses of it.
    #[error(
        "component {0:?} is a cable or a group; name the components of it that the flow crosses"
    )]
    NotCrossable(ComponentId),
    /// An id that this network did not give.
    #[error("component {0:?} is not of this network")]
    Unknown(ComponentId),
    /// A group within a group.
    #[error("component {0:?} is a group; a group's members are components and cables")]
    NestedGroup(ComponentId),
    /// A flow that took one of more ways than are kept apart.
    #[error("{0} ways; name at most 64 of those that a flow may have taken, and count the others")]
    TooManyWays(usize),
    /// Narrower than something that is no group.
    #[error("component {0:?} is no group; only a group has narrower forms")]
    NoGroup(ComponentId),
    /// A cable of something that is no plain component, or already one half of another cable.
    #[error(
        "component {0:?} cannot be a direction of a cable; take two components that are in no cable"
    )]
    NotADirection(ComponentId),
}

/// The part of a flow's way of which nobody knows which of several it took, each as likely as any other.
#[derive(Clone, Copy, Debug)]
pub struct OneOf<'a> {
    /// What it crossed on each of them, at most 64.
    pub ways: &'a [Vec<ComponentId>],
    /// How many ways there are. Those beyond `ways` cross nothing that may be at fault.
    pub of: usize,
}

/// Ways that are kept apart at most.
const MOST_WAYS: usize = 64;

/// What a flow crossed on each of the ways that it may have taken, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ways {
    pub(super) ways: Vec<Vec<u32>>,
    pub(super) of: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Flows cross it.
    Plain,
    /// Two directions of one link.
    Cable,
    /// Things that fail together; holds components and cables.
    Group(Vec<u32>),
}

#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    /// The plain components in it; itself for a plain one.
    pub(super) plain: Vec<u32>,
}

/// Components, and what flows that crossed them saw.
///
/// A flow's packets are lost independently of each other with the probability that one of the crossed
/// components loses them. Flows without loss may therefore be given component by component, as totals;
/// flows with loss must be given whole, once.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub(super) units: Vec<Unit>,
    /// Cable of a plain component; group of a narrower one.
    pub(super) form_of: Vec<Option<u32>>,
    /// Cable and groups that a plain component is in.
    pub(super) above: Vec<Vec<u32>>,
    /// Observations with loss.
    pub(super) lossy: Vec<Lossy>,
    /// Components that they crossed.
    crossed: Vec<u32>,
    /// What observations with loss may have crossed.
    one_of: Vec<Ways>,
    /// Packets that plain components carried in observations without loss.
    pub(super) clean_packets: Vec<u64>,
    /// Packets without loss that may have crossed a plain component, which was on one of so many ways.
    maybe_packets: BTreeMap<(u32, usize), u64>,
    /// By component: packets without loss of which it is presumed that they crossed it, and flows that they are of.
    presumed: BTreeMap<u32, (u64, u64)>,
    /// Flows without loss that crossed a component, cable or group.
    pub(super) clean_flows: Vec<u64>,
    /// Ids being sorted, kept to save allocations.
    scratch: Vec<u32>,
}

/// One observation with loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lossy {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) flows: u64,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Position among the ways that observations may have taken.
    ways: Option<usize>,
}

impl Network {
    /// Without components.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, kind: Kind, shape: Shape, plain: Vec<u32>) -> ComponentId {
        // Four billion components do not fit into memory.
        let id = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        for &member in &plain {
            self.above[member as usize].push(id);
        }
        let plain = if shape == Shape::Plain {
            vec![id]
        } else {
            plain
        };
        self.above.push(Vec::new());
        self.units.push(Unit { kind, shape, plain });
        self.form_of.push(None);
        self.clean_packets.push(0);
        self.clean_flows.push(0);
        ComponentId(id)
    }

    /// Something that flows cross: one direction of a link, an RNIC, a switch, a nuisance.
    pub fn component(&mut self, kind: Kind) -> ComponentId {
        self.add(kind, Shape::Plain, Vec::new())
    }

    /// The two directions of one link, which may fail as one.
    ///
    /// # Errors
    /// When one of them is no plain component or is in a cable already.
    pub fn cable(
        &mut self,
        forth: ComponentId,
        back: ComponentId,
    ) -> Result<ComponentId, NetworkError> {
        for id in [forth, back] {
            let unit = self
                .units
                .get(id.index())
                .ok_or(NetworkError::Unknown(id))?;
            let taken = self.form_of[id.index()].is_some();
            if unit.shape != Shape::Plain || taken || forth == back {
                return Err(NetworkError::NotADirection(id));
            }
        }
        let kind = self.units[forth.index()].kind;
        let cable = self.add(kind, Shape::Cable, vec![forth.0, back.0]);
        self.form_of[forth.index()] = Some(cable.0);
        self.form_of[back.index()] = Some(cable.0);
        Ok(cable)
    }

    /// Things that fail together, all of them or a share: the links of a switch, the RNICs of a host.
    ///
    /// # Errors
    /// When a member is itself a group, or not of this network.
    pub fn group(
        &mut self,
        kind: Kind,
        members: &[ComponentId],
    ) -> Result<ComponentId, NetworkError> {
        let mut parts: Vec<u32> = Vec::with_capacity(members.len());
        let mut plain = Vec::new();
        for &id in members {
            let unit = self
                .units
                .get(id.index())
                .ok_or(NetworkError::Unknown(id))?;
            if matches!(unit.shape, Shape::Group(_)) {
                return Err(NetworkError::NestedGroup(id));
            }
            parts.push(id.0);
            plain.extend_from_slice(&unit.plain);
        }
        for list in [&mut parts, &mut plain] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(self.add(kind, Shape::Group(parts), plain))
    }

    /// Some of a group's members in which the same switch or host may lose instead: the links of a leaf that
    /// lead to spines. A suspect is then that group, whichever of the two explains more.
    ///
    /// # Errors
    /// When `whole` is no group, or a member is itself a group or not of this network.
    pub fn narrower(
        &mut self,
        whole: ComponentId,
        members: &[ComponentId],
    ) -> Result<ComponentId, NetworkError> {
        let unit = self.units.get(whole.index());
        let unit = unit.ok_or(NetworkError::Unknown(whole))?;
        if !matches!(unit.shape, Shape::Group(_)) || self.form_of[whole.index()].is_some() {
            return Err(NetworkError::NoGroup(whole));
        }
        let group = self.group(unit.kind, members)?;
        self.form_of[group.index()] = Some(whole.0);
        Ok(group)
    }

    /// `flows` flows that crossed all of `crossed` sent `sent` packets, of which `lost` were lost.
    ///
    /// # Errors
    /// When more was lost than sent, or `crossed` names what is no plain component of this network.
    pub fn observe(
        &mut self,
        crossed: &[ComponentId],
        sent: u64,
        lost: u64,
        flows: u64,
    ) -> Result<(), NetworkError> {
        let nothing = OneOf { ways: &[], of: 0 };
        self.observe_one_of(crossed, nothing, sent, lost, flows)
    }

    /// The same, of flows that crossed all of `crossed` and, each flow with all its packets, one of several ways.
    /// Flows of many packets without loss speak as if each packet had taken a way of its own.
    ///
    /// # Errors
    /// When more was lost than sent, there are too many ways, or what was crossed is no plain component of this network.
    pub fn observe_one_of(
        &mut self,
        crossed: &[ComponentId],
        one_of: OneOf<'_>,
        sent: u64,
        lost: u64,
        flows: u64,
    ) -> Result<(), NetworkError> {
        if lost > sent {
            return Err(NetworkError::LostMoreThanSent { sent, lost });
        }
        if one_of.ways.len() > MOST_WAYS {
            return Err(NetworkError::TooManyWays(one_of.ways.len()));
        }
        for &id in crossed.iter().chain(one_of.ways.iter().flatten()) {
            let unit = self
                .units
                .get(id.index())
                .ok_or(NetworkError::Unknown(id))?;
            if unit.shape != Shape::Plain {
                return Err(NetworkError::NotCrossable(id));
            }
        }
        self.scratch.clear();
        if let ([only], 0 | 1) = (one_of.ways, one_of.of) {
            self.scratch.extend(only.iter().map(|id| id.0));
        }
        self.scratch.extend(crossed.iter().map(|id| id.0));
        self.scratch.sort_unstable();
        self.scratch.dedup();
        if lost == 0 {
            self.count_clean(sent, flows);
            let of = one_of.of.max(one_of.ways.len());
            for id in one_of.ways.iter().flatten().filter(|_| of > 1) {
                let packets = self.maybe_packets.entry((id.0, of)).or_default();
                *packets = packets.saturating_add(sent);
            }
            return Ok(());
        }
        let ways = self.ways(one_of);
        if self.scratch.is_empty() && ways.is_none() {
            // Losses of packets that crossed nothing we know of accuse nobody.
            return Ok(());
        }
        let start = self.crossed.len();
        self.crossed.extend_from_slice(&self.scratch);
        self.lossy.push(Lossy {
            sent,
            lost,
            flows,
            start,
            end: self.crossed.len(),
            ways,
        });
        Ok(())
    }

    /// Takes for granted, for want of a word to the contrary, that `sent` packets of `flows` flows crossed a component
    /// without loss. Each flow did so with all its packets or with none, so however much the component loses, a flow
    /// speaks no more against it than that it did not cross it after all.
    ///
    /// # Errors
    /// As [`Network::observe`].
    pub fn presume(
        &mut self,
        crossed: ComponentId,
        sent: u64,
        flows: u64,
    ) -> Result<(), NetworkError> {
        let units = &self.units;
        let unit = units.get(crossed.index());
        let unit = unit.ok_or(NetworkError::Unknown(crossed))?;
        if unit.shape != Shape::Plain {
            return Err(NetworkError::NotCrossable(crossed));
        }
        let presumed = self.presumed.entry(crossed.0).or_default();
        presumed.0 = presumed.0.saturating_add(sent);
        presumed.1 = presumed.1.saturating_add(flows);
        self.scratch.clear();
        self.scratch.push(crossed.0);
        self.count_clean(0, sent.min(1));
        Ok(())
    }

    /// Keeps the ways beside what is crossed for certain; `None` where there are not several.
    fn ways(&mut self, one_of: OneOf<'_>) -> Option<usize> {
        let of = one_of.of.max(one_of.ways.len());
        if of < 2 {
            return None;
        }
        let fresh = |way: &Vec<ComponentId>| {
            let ids = way.iter().map(|id| id.0);
            let mut ids: Vec<u32> = ids.filter(|id| !self.scratch.contains(id)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let mut ways: Vec<Vec<u32>> = one_of.ways.iter().map(fresh).collect();
        ways.retain(|way| !way.is_empty());
        ways.sort_unstable();
        if ways.is_empty() {
            return None;
        }
        self.one_of.push(Ways { ways, of });
        Some(self.one_of.len() - 1)
    }

    /// Counts a flow without loss over the components in `scratch` and what they are in.
    fn count_clean(&mut self, sent: u64, flows: u64) {
        let plain = self.scratch.len();
        for position in 0..plain {
            let id = self.scratch[position] as usize;
            let packets = &mut self.clean_packets[id];
            *packets = packets.saturating_add(sent);
            self.scratch.extend_from_slice(&self.above[id]);
        }
        self.scratch[plain..].sort_unstable();
        self.scratch.dedup();
        for &id in &self.scratch {
            let clean = &mut self.clean_flows[id as usize];
            *clean = clean.saturating_add(flows);
        }
    }

    /// Kind of a component, cable or group of this network; `None` of another's.
    #[must_use]
    pub fn kind(&self, id: ComponentId) -> Option<Kind> {
        self.units.get(id.index()).map(|unit| unit.kind)
    }

    pub(super) fn crossed(&self, lossy: &Lossy) -> &[u32] {
        &self.crossed[lossy.start..lossy.end]
    }

    /// Packets without loss that may have crossed each plain component, by how likely each did.
    pub(super) fn maybe(&self) -> Vec<Maybe> {
        let mut maybe = vec![Maybe::default(); self.units.len()];
        for ((plain, of), packets) in &self.maybe_packets {
            let packets = *packets as f64 / *of as f64;
            maybe[*plain as usize].add(Maybe {
                packets,
                flows: packets,
            });
        }
        for (plain, (packets, flows)) in &self.presumed {
            maybe[*plain as usize].add(Maybe {
                packets: *packets as f64,
                flows: *flows as f64,
            });
        }
        maybe
    }

    pub(super) fn one_of(&self, lossy: &Lossy) -> Option<&Ways> {
        self.one_of.get(lossy.ways?)
    }
}
