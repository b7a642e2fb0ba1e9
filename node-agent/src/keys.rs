//! Probe keys from a folder, read again on change.
