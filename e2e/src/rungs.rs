//! The rungs of the test ladder: which of them this run asks for.
//!
//! `RDMAMESH_RUNGS` lists them, e.g. `T1,T2`. Plain `cargo test` asks for none, so that it needs neither root nor
//! network nor a virtual machine; tests of the other rungs are then listed as ignored, by name.

/// Name of the environment variable.
pub const VARIABLE: &str = "RDMAMESH_RUNGS";

/// Whether this run asks for a rung, e.g. `T1`.
pub fn asked(rung: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|list| lists(&list, rung))
}

fn lists(list: &str, rung: &str) -> bool {
    list.split(',')
        .any(|name| name.trim().eq_ignore_ascii_case(rung))
}

#[cfg(test)]
mod tests {
    use super::lists;

    #[test]
    fn a_rung_is_asked_for_by_its_name() {
        assert!(lists("T1", "T1"));
        assert!(lists("t0, t2", "T2"));
        assert!(!lists("T1", "T2"));
        assert!(!lists("T12", "T1"));
        assert!(!lists("", "T1"));
    }
}
