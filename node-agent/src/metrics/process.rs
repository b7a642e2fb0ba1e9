//! CPU time and memory of this process, from `/proc/self`.

/// Clock ticks per second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every architecture that Linux runs RNICs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Page size of x86-64, and of arm64 as distributions for servers build it.
const PAGE_BYTES: u64 = 4096;

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time in seconds.
    pub(super) cpu_seconds: f64,
    /// Resident memory in bytes.
    pub(super) resident_bytes: u64,
}

/// Reads the usage of this process; `None` where `/proc` is not readable.
pub(super) fn usage() -> Option<Usage> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields of `/proc/<pid>/stat` after the command name, which may hold spaces: 14 and 15 are user and
/// system time, 24 resident pages (proc_pid_stat(5)).
fn parse(stat: &str) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Usage {
        cpu_seconds: (number(14)? + number(15)?) as f64 / TICKS_PER_SECOND,
        resident_bytes: number(24)? * PAGE_BYTES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_from_behind_the_command_name() {
        let stat = "42 (rdma) mesh) S 1 42 42 0 -1 4194560 500 0 0 0 250 50 0 0 20 0 3 0 100 9000000 2560 1844";
        assert_eq!(
            parse(stat),
            Some(Usage {
                cpu_seconds: 3.0,
                resident_bytes: 2560 * 4096,
            })
        );
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn this_process_uses_something() {
        assert!(usage().expect("Linux has /proc").resident_bytes > 0);
    }
}
