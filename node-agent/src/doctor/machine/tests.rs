use std::os::unix::fs::symlink;

use super::*;

struct Copy(tempfile::TempDir);

impl Copy {
    fn new(files: &[(&str, &str)]) -> Self {
        let copy = Self(tempfile::tempdir().expect("a temporary folder"));
        for (path, content) in files {
            let path = copy.0.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("create");
            std::fs::write(path, format!("{content}\n")).expect("write");
        }
        copy
    }

    fn node(&self, name: &str, target: &str) {
        let folder = self.0.path().join("dev/infiniband");
        std::fs::create_dir_all(&folder).expect("create");
        symlink(target, folder.join(name)).expect("link");
    }

    fn read(&self, devices: &[DeviceInfo]) -> Machine {
        let roots = Roots {
            sysfs: SysfsRoot::at(self.0.path().join("sys")),
            proc: self.0.path().join("proc"),
            dev: self.0.path().join("dev"),
        };
        Machine::read(&roots, devices)
    }
}

fn device(uverbs: &str) -> DeviceInfo {
    DeviceInfo {
        name: "mlx5_0".to_owned(),
        node_guid: String::new(),
        firmware: None,
        driver: None,
        pci: None,
        numa_node: None,
        uverbs: Some(uverbs.to_owned()),
        ports: Vec::new(),
    }
}

#[test]
fn everything_is_read_from_where_the_kernel_writes_it() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                  Max processes             96000                96000                processes \n\
                  Max locked memory         65536                unlimited            bytes     ";
    let clocks = "sys/devices/system/clocksource/clocksource0";
    let copy = Copy::new(&[
        ("sys/module/ib_core/parameters/netns_mode", "N"),
        ("sys/module/ib_core/initstate", "live"),
        ("sys/kernel/btf/vmlinux", ""),
        (
            "sys/kernel/security/lockdown",
            "none [integrity] confidentiality",
        ),
        ("sys/class/infiniband/mlx5_0/node_type", "4: RNIC"),
        (
            "sys/class/infiniband/mlx5_0/tc/1/traffic_class",
            "Global tclass=106",
        ),
        (&format!("{clocks}/current_clocksource"), "hpet"),
        (
            &format!("{clocks}/available_clocksource"),
            "tsc hpet acpi_pm",
        ),
        ("proc/self/limits", limits),
        ("proc/self/status", "Name:\tx\nCapEff:\t000000c000004000"),
        ("proc/sys/kernel/perf_event_paranoid", "3"),
    ]);
    let machine = copy.read(&[device("uverbs0")]);
    let named = |value: &str| BTreeMap::from([("mlx5_0".to_owned(), value.to_owned())]);
    let clock = Clock {
        current: "hpet".to_owned(),
        available: ["tsc", "hpet", "acpi_pm"].map(str::to_owned).to_vec(),
    };
    let wanted = Machine {
        shared_netns: Some(false),
        nodes: BTreeMap::new(),
        node_types: named("RNIC"),
        forced_classes: named("Global tclass=106"),
        dcb: BTreeMap::new(),
        clock: Some(clock),
        memlock: Some(MemLock::Bytes(65536)),
        capabilities: Some((1 << 39) | (1 << 38) | (1 << 14)),
        lockdown: Some("integrity".to_owned()),
        kernel_btf: true,
        ib_core_btf: Some(false),
        perf_paranoid: Some(3),
    };
    assert_eq!(machine, wanted);
}

#[test]
fn garbage_is_absent_and_a_built_in_ib_core_needs_no_description_of_its_own() {
    let copy = Copy::new(&[
        ("sys/module/ib_core/parameters/netns_mode", "1"),
        ("sys/kernel/security/lockdown", "integrity"),
        ("proc/self/limits", "nonsense"),
        ("proc/self/status", "CapEff:\tzz"),
        ("proc/sys/kernel/perf_event_paranoid", "many"),
    ]);
    let wanted = Machine {
        shared_netns: Some(true),
        ..Machine::default()
    };
    assert_eq!(copy.read(&[]), wanted);
    let unlimited = "Max locked memory         unlimited            unlimited            bytes";
    assert_eq!(memlock(unlimited), Some(MemLock::Unlimited));
}

#[test]
fn a_device_node_is_tried() {
    // The number of /dev/null, which anybody may open.
    let copy = Copy::new(&[("sys/class/infiniband_verbs/uverbs0/dev", "1:3")]);
    let state = || copy.read(&[device("uverbs0")]).nodes.remove("mlx5_0");
    assert_eq!(state(), Some(NodeState::Missing));
    copy.node("uverbs0", "/dev/null");
    assert_eq!(state(), Some(NodeState::Opens));
    let other = Copy::new(&[("sys/class/infiniband_verbs/uverbs0/dev", "231:192")]);
    other.node("uverbs0", "/dev/null");
    let wrong = NodeState::Wrong {
        found: "1:3".to_owned(),
        wanted: "231:192".to_owned(),
    };
    let found = other.read(&[device("uverbs0")]).nodes.remove("mlx5_0");
    assert_eq!(found, Some(wrong));
}
