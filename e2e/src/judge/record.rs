//! Lines of a file of flow records.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::truth::Truth;

/// Name of a node: a string, or a number as some simulators write it. Borrowed where JSON allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name<'a>(pub(super) Cow<'a, str>);

impl AsRef<str> for Name<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a node")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(number.to_string())))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// The first line.
#[derive(Debug, Deserialize)]
pub(super) struct Header<'a> {
    #[serde(borrow)]
    pub(super) fabric: FabricRecord<'a>,
    pub(super) truth: Option<Truth>,
}

/// Nodes and links.
#[derive(Debug, Deserialize)]
pub(super) struct FabricRecord<'a> {
    #[serde(borrow)]
    pub(super) links: Vec<(Name<'a>, Name<'a>)>,
    #[serde(borrow, default)]
    pub(super) hosts: Vec<Name<'a>>,
    #[serde(borrow, default)]
    pub(super) switches: Vec<Name<'a>>,
    pub(super) truth: Option<Truth>,
}

/// Any other line.
#[derive(Debug, Deserialize)]
pub(super) struct FlowRecord<'a> {
    #[serde(borrow)]
    pub(super) src: Name<'a>,
    #[serde(borrow)]
    pub(super) dst: Name<'a>,
    #[serde(borrow)]
    pub(super) path: Vec<Name<'a>>,
    pub(super) sent: u64,
    pub(super) lost: u64,
}
