//! What a port of an RDMA device is and how it does: number, link layer, states and rate.
//!
//! Parsed from sysfs text by the inventory. A value that this crate does not know is kept as
//! `Unknown`, never an error: kernels and drivers grow new ones.

use std::fmt;

/// A port of a device; ports count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortNum(u8);

impl PortNum {
    /// The first port, on most RNICs the only one.
    pub const FIRST: Self = Self(1);

    /// A port number, `None` for 0, which verbs reserve.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number as verbs want it.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for PortNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the port speaks on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LinkLayer {
    /// RoCE or iWARP.
    Ethernet,
    /// InfiniBand.
    InfiniBand,
    /// Anything else that the kernel says.
    Unknown(String),
}

/// Logical state of a port (`state` in sysfs, `enum ibv_port_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortState {
    /// No change since the last query (never seen in sysfs).
    Nop,
    /// No traffic possible.
    Down,
    /// Physically up, not yet configured by a subnet manager.
    Init,
    /// Configured, not yet active.
    Armed,
    /// Carries traffic.
    Active,
    /// Up, recovering from a link error.
    ActiveDefer,
    /// A number that we do not know; 0 where the file is missing or unreadable.
    Unknown(u32),
}

/// Physical state of a port (`phys_state` in sysfs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhysicalState {
    /// Sleeping.
    Sleep,
    /// Looking for a link partner.
    Polling,
    /// Switched off.
    Disabled,
    /// Training lanes.
    PortConfigurationTraining,
    /// Link is up.
    LinkUp,
    /// Recovering from errors.
    LinkErrorRecovery,
    /// Under test.
    PhyTest,
    /// A number that we do not know; 0 where the file is missing or unreadable.
    Unknown(u32),
}

/// Speed of a port in megabits per second (sysfs `rate` is in Gb/sec with one decimal, such as
/// `2.5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// Megabits per second.
    pub mbit_per_sec: u64,
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nop => f.write_str("Nop"),
            Self::Down => f.write_str("Down"),
            Self::Init => f.write_str("Init"),
            Self::Armed => f.write_str("Armed"),
            Self::Active => f.write_str("Active"),
            Self::ActiveDefer => f.write_str("ActiveDefer"),
            Self::Unknown(raw) => write!(f, "Unknown({raw})"),
        }
    }
}

impl fmt::Display for PhysicalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sleep => f.write_str("Sleep"),
            Self::Polling => f.write_str("Polling"),
            Self::Disabled => f.write_str("Disabled"),
            Self::PortConfigurationTraining => f.write_str("PortConfigurationTraining"),
            Self::LinkUp => f.write_str("LinkUp"),
            Self::LinkErrorRecovery => f.write_str("LinkErrorRecovery"),
            Self::PhyTest => f.write_str("PhyTest"),
            Self::Unknown(raw) => write!(f, "Unknown({raw})"),
        }
    }
}

impl fmt::Display for LinkLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethernet => f.write_str("Ethernet"),
            Self::InfiniBand => f.write_str("InfiniBand"),
            Self::Unknown(raw) => f.write_str(raw),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mbit_per_sec.is_multiple_of(1000) {
            write!(f, "{} Gb/s", self.mbit_per_sec / 1000)
        } else {
            write!(
                f,
                "{}.{} Gb/s",
                self.mbit_per_sec / 1000,
                self.mbit_per_sec % 1000 / 100
            )
        }
    }
}

/// The leading number of sysfs text such as `4: ACTIVE`; 0 where there is none.
fn leading_number(text: &str) -> u32 {
    let digits = text.split(':').next().unwrap_or_default().trim();
    digits.parse().unwrap_or(0)
}

impl PortState {
    /// From sysfs text such as `4: ACTIVE`.
    pub(crate) fn from_sysfs(text: &str) -> Self {
        match leading_number(text) {
            1 => Self::Down,
            2 => Self::Init,
            3 => Self::Armed,
            4 => Self::Active,
            5 => Self::ActiveDefer,
            raw => Self::Unknown(raw),
        }
    }
}

impl PhysicalState {
    /// From sysfs text such as `5: LinkUp`.
    pub(crate) fn from_sysfs(text: &str) -> Self {
        match leading_number(text) {
            1 => Self::Sleep,
            2 => Self::Polling,
            3 => Self::Disabled,
            4 => Self::PortConfigurationTraining,
            5 => Self::LinkUp,
            6 => Self::LinkErrorRecovery,
            7 => Self::PhyTest,
            raw => Self::Unknown(raw),
        }
    }
}

impl LinkLayer {
    /// From sysfs text.
    pub(crate) fn from_sysfs(text: &str) -> Self {
        match text {
            "Ethernet" => Self::Ethernet,
            "InfiniBand" => Self::InfiniBand,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl Rate {
    /// From sysfs text such as `100 Gb/sec (4X EDR)` or `2.5 Gb/sec (1X SDR)`; `None` for anything
    /// else.
    pub(crate) fn from_sysfs(text: &str) -> Option<Self> {
        let (number, unit) = text.split_once(' ')?;
        if !unit.starts_with("Gb/sec") {
            return None;
        }
        let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
        let tenth: u64 = if tenth.len() == 1 {
            tenth.parse().ok()?
        } else {
            return None;
        };
        let mbit_per_sec = whole
            .parse::<u64>()
            .ok()?
            .checked_mul(1000)?
            .checked_add(tenth * 100)?;
        (mbit_per_sec > 0).then_some(Self { mbit_per_sec })
    }
}
