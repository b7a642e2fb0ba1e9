//! The `fault` step: a fault of [`crate::fault`] with an id to clear it by and the time after which it mends itself.

use std::fmt;
use std::time::Duration;

use rdmamesh_api::GoDuration;
use serde_json::{Map, Value};

use crate::fabric::{Direction, Fabric};
use crate::fault::desired::Desired;

/// Something broken on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What a `clear` step calls it.
    pub id: String,
    /// What is broken, and how.
    pub fault: crate::fault::Fault,
    /// Its keys as written, for progress lines.
    pub text: String,
    /// Mends itself after this time.
    pub lasts: Option<Duration>,
}

impl Fault {
    /// The fault that the keys describe; `number` names it when it has no id.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub(super) fn from_keys(
        mut keys: Map<String, Value>,
        fabric: &Fabric,
        number: usize,
    ) -> Result<Self, String> {
        let id = match keys.remove("id") {
            None => format!("fault{number}"),
            Some(Value::String(id)) => id,
            Some(other) => return Err(format!("id is {other}: write a word, for example f1")),
        };
        let lasts = match keys.remove("for") {
            None => None,
            Some(time) => Some(positive_time(&time)?),
        };
        let Some(kind) = keys.get("kind").and_then(Value::as_str).map(str::to_owned) else {
            return Err("a fault needs a kind, for example kind: loss".to_owned());
        };
        name_link_from_below(&mut keys, fabric);
        let text = describe(&kind, &keys);
        let fault: crate::fault::Fault = serde_json::from_value(Value::Object(keys))
            .map_err(|error| format!("in a fault of kind {kind}: {error}"))?;
        // Works out what the fault means: that finds names the fabric does not have and shares that are none.
        Desired::of(fabric, [&fault]).map_err(|error| error.to_string())?;
        Ok(Self {
            id,
            fault,
            text,
            lasts,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.lasts {
            Some(time) => write!(f, " for {}", GoDuration(time)),
            None => Ok(()),
        }
    }
}

fn positive_time(value: &Value) -> Result<Duration, String> {
    let wrong = || format!("for is {value}: write how long the fault lasts, for example 20s");
    let time: GoDuration = value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    if time.get().is_zero() {
        return Err(wrong());
    }
    Ok(time.get())
}

/// A link may be named from either end; the fabric knows it from the end nearer to the hosts.
fn name_link_from_below(keys: &mut Map<String, Value>, fabric: &Fabric) {
    let Some((upper, lower)) = keys
        .get("link")
        .and_then(Value::as_str)
        .and_then(|name| name.split_once('-'))
    else {
        return;
    };
    let turned = format!("{lower}-{upper}");
    if fabric.link(&turned).is_err() {
        return;
    }
    keys.insert("link".to_owned(), Value::String(turned));
    let direction = keys.get("direction").cloned().unwrap_or_default();
    let other_way = match serde_json::from_value(direction) {
        Ok(Direction::Forward) => "backward",
        Ok(Direction::Backward) => "forward",
        // Nothing written, the same both ways, or a mistake that is reported later.
        Ok(Direction::Both) | Err(_) => return,
    };
    keys.insert("direction".to_owned(), Value::String(other_way.to_owned()));
}

/// `loss leaf1-spine2 percent 30`: where first, the rest in alphabetical order.
fn describe(kind: &str, keys: &Map<String, Value>) -> String {
    const PLACES: [&str; 3] = ["link", "switch", "host"];
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let mut words = vec![kind.to_owned()];
    words.extend(PLACES.iter().filter_map(|key| keys.get(*key)).map(plain));
    for (key, value) in keys {
        if key != "kind" && !PLACES.contains(&key.as_str()) {
            words.push(format!("{key} {}", plain(value)));
        }
    }
    words.join(" ")
}
