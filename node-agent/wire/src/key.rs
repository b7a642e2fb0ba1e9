//! Keys: several may be valid at once, one signs.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::DropReason;

/// Shortest secret that is accepted, in bytes.
pub const MIN_SECRET_LEN: usize = 32;

/// Length of the MAC at the end of every datagram, in bytes.
pub(crate) const MAC_LEN: usize = 16;

/// What is wrong with a set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too little secret.
    #[error("key {id} has {len} bytes: give it at least {MIN_SECRET_LEN} random bytes")]
    TooShort {
        /// Key id.
        id: u8,
        /// Its length in bytes.
        len: usize,
    },
    /// Zero stands for "no key".
    #[error("key id 0 is reserved: number keys from 1 to 255")]
    ReservedId,
    /// The signing key is not among the keys.
    #[error("the active key {id} is not among the keys: add it or make another one active")]
    ActiveMissing {
        /// Key id.
        id: u8,
    },
    /// No key at all.
    #[error("no probe key: provide at least one")]
    Empty,
}

/// The keys that are valid now. All of them verify, the active one signs.
///
/// To rotate without a gap: add the new key everywhere, make it active everywhere, remove the old one.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<(u8, [u8; 32])>,
    active: usize,
}

impl KeyRing {
    /// A ring of `(key id, secret)`. `active` names the signing key; without it the highest id signs.
    ///
    /// # Errors
    /// No key, a secret under [`MIN_SECRET_LEN`] bytes, id 0, or an active key that is not there.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = (u8, &'a [u8])>,
        active: Option<u8>,
    ) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for (id, secret) in secrets {
            if id == 0 {
                return Err(KeyError::ReservedId);
            }
            if secret.len() < MIN_SECRET_LEN {
                return Err(KeyError::TooShort {
                    id,
                    len: secret.len(),
                });
            }
            keys.retain(|(known, _)| *known != id);
            keys.push((
                id,
                blake3::derive_key("rdmamesh probe datagram mac v1", secret),
            ));
        }
        keys.sort_unstable_by_key(|(id, _)| *id);
        let active = match active {
            None => keys.len().checked_sub(1).ok_or(KeyError::Empty)?,
            Some(id) => keys
                .iter()
                .position(|(known, _)| *known == id)
                .ok_or(KeyError::ActiveMissing { id })?,
        };
        Ok(Self { keys, active })
    }

    /// Id of the key that signs.
    pub fn active_id(&self) -> u8 {
        self.keys.get(self.active).map_or(0, |(id, _)| *id)
    }

    /// Ids of all valid keys, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u8> + '_ {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// Puts the MAC over everything before it at the end of `datagram`, whatever that holds. Encoding does
    /// this already; on its own it serves tools that build damaged datagrams with a right MAC.
    pub fn sign(&self, datagram: &mut [u8]) {
        if let Some((body, mac)) = datagram.split_last_chunk_mut::<MAC_LEN>()
            && let Some((_, key)) = self.keys.get(self.active)
        {
            *mac = mac_of(key, body);
        }
    }

    /// Checks the MAC at the end of `datagram` with the key named `id`.
    pub(crate) fn verify(&self, id: u8, datagram: &[u8]) -> Result<(), DropReason> {
        let (body, mac) = datagram
            .split_last_chunk::<MAC_LEN>()
            .ok_or(DropReason::Length)?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| *known == id)
            .ok_or(DropReason::Key)?;
        if bool::from(mac_of(key, body).ct_eq(mac)) {
            Ok(())
        } else {
            Err(DropReason::Mac)
        }
    }
}

impl fmt::Debug for KeyRing {
    /// Ids only: a key must never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("ids", &self.ids().collect::<Vec<_>>())
            .field("active", &self.active_id())
            .finish_non_exhaustive()
    }
}

fn mac_of(key: &[u8; 32], body: &[u8]) -> [u8; MAC_LEN] {
    let mut mac = [0; MAC_LEN];
    mac.copy_from_slice(&blake3::keyed_hash(key, body).as_bytes()[..MAC_LEN]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_id_signs_unless_another_is_named() {
        let keys = [(3u8, [3u8; 32]), (9, [9; 32]), (1, [1; 32])];
        let pairs = || keys.iter().map(|(id, secret)| (*id, secret.as_slice()));
        assert_eq!(
            KeyRing::new(pairs(), None).expect("valid keys").active_id(),
            9
        );
        assert_eq!(
            KeyRing::new(pairs(), Some(3))
                .expect("valid keys")
                .active_id(),
            3
        );
        assert_eq!(
            KeyRing::new(pairs(), Some(4)),
            Err(KeyError::ActiveMissing { id: 4 })
        );
    }

    #[test]
    fn weak_or_reserved_keys_are_refused_with_advice() {
        let short = KeyRing::new([(1, [0u8; 31].as_slice())], None);
        assert_eq!(short, Err(KeyError::TooShort { id: 1, len: 31 }));
        assert_eq!(
            KeyRing::new([(0, [0u8; 32].as_slice())], None),
            Err(KeyError::ReservedId)
        );
        assert_eq!(KeyRing::new([], None), Err(KeyError::Empty));
    }

    #[test]
    fn debug_output_shows_ids_and_never_a_secret() {
        let ring = KeyRing::new([(7, [0xAB; 32].as_slice())], None).expect("valid key");
        assert_eq!(format!("{ring:?}"), "KeyRing { ids: [7], active: 7, .. }");
    }
}
