use std::sync::Mutex;

use clap::Parser as _;

use super::*;

/// Makes plain files and keeps the numbers.
#[derive(Default)]
struct Paper {
    made: Mutex<Vec<(u64, u64)>>,
    refuses: bool,
}

impl Maker for Paper {
    fn make(&self, path: &Path, major: u64, minor: u64) -> io::Result<()> {
        if self.refuses {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let mut made = self.made.lock().expect("no test panics in here");
        made.push((major, minor));
        std::fs::write(path, "")
    }
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    args: DevicePluginArgs,
}

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn with(devices: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, numbers) in devices {
            let device = folder.path().join("sys/class/infiniband_verbs").join(name);
            std::fs::create_dir_all(&device).expect("create");
            std::fs::write(device.join("dev"), format!("{numbers}\n")).expect("write");
        }
        Self { folder }
    }

    fn sysfs(&self) -> SysfsRoot {
        SysfsRoot::at(self.folder.path().join("sys"))
    }

    fn nodes(&self, maker: Paper, flags: &[&str]) -> Nodes<Paper> {
        let flags = Flags::try_parse_from(["x"].iter().chain(flags)).expect("valid flags");
        let args = DevicePluginArgs {
            node_dir: self.folder.path().join("dev"),
            ..flags.args
        };
        Nodes::new(&args, maker)
    }
}

fn paths(specs: &[DeviceSpec]) -> Vec<(&str, bool)> {
    let path = |spec: &DeviceSpec| spec.host_path == spec.container_path;
    let all = specs.iter();
    all.map(|spec| (spec.container_path.as_str(), path(spec)))
        .collect()
}

#[test]
fn devices_that_may_come_later_are_given_with_the_numbers_they_will_have() {
    let machine = Machine::with(&[("uverbs1", "231:193"), ("uverbs40", "509:8")]);
    let nodes = machine.nodes(Paper::default(), &["--hotplug-nodes=2"]);
    let specs = nodes.hand_out(&machine.sysfs());
    let wanted = [
        ("/dev/infiniband/uverbs0", false),
        ("/dev/infiniband/uverbs1", false),
        ("/dev/infiniband/uverbs40", true),
    ];
    assert_eq!(paths(&specs), wanted);
    assert!(specs.iter().all(|spec| spec.permissions == "rw"));
    assert!(
        specs[..2]
            .iter()
            .all(|spec| Path::new(&spec.host_path).exists())
    );
    let made = nodes.maker.made.lock().expect("nobody panicked").clone();
    assert_eq!(made, [(231, 192), (231, 193)]);
}

#[test]
fn without_the_right_to_make_nodes_what_is_there_is_given() {
    let machine = Machine::with(&[("uverbs3", "231:195")]);
    let maker = Paper {
        refuses: true,
        ..Paper::default()
    };
    let specs = machine.nodes(maker, &[]).hand_out(&machine.sysfs());
    assert_eq!(paths(&specs), [("/dev/infiniband/uverbs3", true)]);
}

#[test]
fn unusual_numbers_are_not_guessed() {
    let machine = Machine::with(&[("uverbs0", "240:0")]);
    let nodes = machine.nodes(Paper::default(), &[]);
    let specs = nodes.hand_out(&machine.sysfs());
    assert_eq!(paths(&specs), [("/dev/infiniband/uverbs0", true)]);
    assert!(nodes.maker.made.lock().expect("nobody panicked").is_empty());
}

#[test]
fn only_what_is_asked_for_is_given() {
    let machine = Machine::with(&[]);
    let misc = machine.folder.path().join("sys/class/misc/rdma_cm");
    std::fs::create_dir_all(misc).expect("create");
    let none = machine.nodes(Paper::default(), &["--hotplug-nodes=0"]);
    assert_eq!(none.hand_out(&machine.sysfs()), []);
    let flags = ["--hotplug-nodes=0", "--rdma-cm"];
    let manager = machine.nodes(Paper::default(), &flags);
    let specs = manager.hand_out(&machine.sysfs());
    assert_eq!(paths(&specs), [("/dev/infiniband/rdma_cm", true)]);
}
