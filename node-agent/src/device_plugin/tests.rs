//! The plugin against a kubelet of the test's own: real gRPC over unix sockets in a temporary folder, and a written
//! copy of sysfs.

use std::path::Path;

use clap::Parser as _;
use tokio::time::{sleep, timeout};

use super::api::{HEALTHY, UNHEALTHY};
use super::*;
use kubelet::FakeKubelet;

mod kubelet;

/// Everything here happens within milliseconds; a loaded machine may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    args: DevicePluginArgs,
}

/// A node with a plugin that runs.
struct Node {
    folder: tempfile::TempDir,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    plugin: tokio::task::JoinHandle<()>,
}

impl Node {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("kubelet")).expect("create");
        std::fs::create_dir(at("sys")).expect("create");
        let flags = ["device-plugin", "--shares=1", "--hotplug-nodes=0"];
        let args = DevicePluginArgs {
            kubelet_dir: at("kubelet"),
            node_dir: at("dev"),
            sysfs_root: at("sys"),
            ..Flags::try_parse_from(flags).expect("valid flags").args
        };
        let (sender, state) = watch::channel(State::default());
        let stop = CancellationToken::new();
        let plugin = tokio::spawn(work(args, STEP, sender, stop.clone()));
        Self {
            folder,
            state,
            stop,
            plugin,
        }
    }

    fn kubelet_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("kubelet")
    }

    /// Puts an InfiniBand device with one port in the given state into sysfs.
    fn plug(&self, name: &str, number: u16, state: &str) {
        let sys = self.folder.path().join("sys/class");
        let write = |path: String, content: &str| {
            let path = sys.join(path);
            let folder = path.parent().expect("below the root");
            std::fs::create_dir_all(folder).expect("create");
            std::fs::write(path, format!("{content}\n")).expect("write");
        };
        let verbs = format!("infiniband_verbs/uverbs{number}");
        write(format!("{verbs}/dev"), &format!("231:{}", 192 + number));
        write(format!("{verbs}/ibdev"), name);
        let port = format!("infiniband/{name}/ports/1");
        write(format!("{port}/link_layer"), "InfiniBand");
        write(format!("{port}/state"), state);
    }

    fn unplug(&self, name: &str, number: u16) {
        let sys = self.folder.path().join("sys/class");
        let remove = |path: &Path| std::fs::remove_dir_all(path).expect("it was there");
        remove(&sys.join(format!("infiniband_verbs/uverbs{number}")));
        remove(&sys.join(format!("infiniband/{name}")));
    }

    /// Waits for a state of the registration.
    async fn until(&self, what: &str, good: impl Fn(&State) -> bool) -> State {
        let mut state = self.state.clone();
        let seen = timeout(PATIENCE, state.wait_for(|state| good(state))).await;
        let seen = seen.unwrap_or_else(|_| unreachable!("not {what}: {:?}", self.state.borrow()));
        seen.expect("the plugin runs").clone()
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = timeout(PATIENCE, self.plugin).await;
        ended.expect("it ends when told to").expect("no panic");
    }
}

fn registered(times: u64) -> impl Fn(&State) -> bool {
    move |state| *state == State::Registered(times)
}

#[tokio::test]
async fn the_kubelet_learns_the_shares_and_every_change_of_the_devices() {
    let node = Node::start();
    let kubelet = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered", registered(1)).await;
    let request = kubelet.requests().remove(0);
    assert_eq!(request.version, "v1beta1");
    assert_eq!(request.resource_name, "rdmamesh.io/rdma");
    assert_eq!(request.endpoint, "rdmamesh.io_rdma.sock");
    kubelet.until_list(&[("node-0", HEALTHY)]).await;
    node.plug("mlx5_0", 0, "1: DOWN");
    let down = [("node-0", HEALTHY), ("mlx5_0-0", UNHEALTHY)];
    kubelet.until_list(&down).await;
    node.plug("mlx5_0", 0, "4: ACTIVE");
    let up = [("node-0", HEALTHY), ("mlx5_0-0", HEALTHY)];
    kubelet.until_list(&up).await;
    node.unplug("mlx5_0", 0);
    kubelet.until_list(&down).await;
    node.plug("mlx5_0", 1, "4: ACTIVE");
    kubelet.until_list(&up).await;
    node.end().await;
}

#[tokio::test]
async fn a_container_gets_the_device_nodes_or_the_reason_why_not() {
    let node = Node::start();
    let kubelet = FakeKubelet::start(&node.kubelet_dir());
    node.plug("mlx5_0", 5, "4: ACTIVE");
    kubelet
        .until_list(&[("node-0", HEALTHY), ("mlx5_0-0", HEALTHY)])
        .await;
    let mut client = kubelet.client().await;
    let given = client.allocate(kubelet::ask(&["node-0"])).await;
    let given = given.expect("there is one").into_inner();
    let devices = &given.container_responses[0].devices;
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].host_path, "/dev/infiniband/uverbs5");
    assert_eq!(devices[0].container_path, "/dev/infiniband/uverbs5");
    let unknown = client.allocate(kubelet::ask(&["mlx5_7-0"])).await;
    let refusal = unknown.expect_err("there is no such share");
    assert!(refusal.message().contains("mlx5_7-0"), "{refusal}");
    node.plug("mlx5_0", 5, "1: DOWN");
    kubelet
        .until_list(&[("node-0", HEALTHY), ("mlx5_0-0", UNHEALTHY)])
        .await;
    let down = client.allocate(kubelet::ask(&["mlx5_0-0"])).await;
    let refusal = down.expect_err("the port is down");
    assert_eq!(refusal.message(), "mlx5_0: port 1 is Down");
    node.end().await;
}

#[tokio::test]
async fn the_nodes_own_shares_are_preferred() {
    let node = Node::start();
    let kubelet = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered", registered(1)).await;
    let mut client = kubelet.client().await;
    let request = kubelet::prefer(&["mlx5_0-0", "node-0", "mlx5_1-0"], 2);
    let answer = client.get_preferred_allocation(request).await;
    let answer = answer.expect("answered").into_inner();
    let chosen = &answer.container_responses[0].device_i_ds;
    assert_eq!(*chosen, ["node-0", "mlx5_0-0"]);
    node.end().await;
}

#[tokio::test]
async fn it_registers_again_whenever_the_kubelet_was_restarted() {
    let node = Node::start();
    let why = node
        .until(
            "waiting",
            |state| matches!(state, State::Waiting(reason) if reason.contains("kubelet.sock")),
        )
        .await;
    assert!(format!("{why:?}").contains("--kubelet-dir"), "{why:?}");
    let first = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered", registered(1)).await;
    first.kill().await;
    let second = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered again", registered(2)).await;
    second.until_list(&[("node-0", HEALTHY)]).await;
    second.kill().await;
    let third = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered once more", registered(3)).await;
    third.until_list(&[("node-0", HEALTHY)]).await;
    node.end().await;
}

#[tokio::test]
async fn a_refused_registration_is_told_and_tried_again() {
    let node = Node::start();
    let kubelet = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered", registered(1)).await;
    kubelet.kill().await;
    let strict = FakeKubelet::that_refuses(&node.kubelet_dir(), "unsupported version");
    let reason = node
        .until(
            "refused",
            |state| matches!(state, State::Waiting(reason) if reason.contains("refuses")),
        )
        .await;
    assert!(format!("{reason:?}").contains("unsupported version"));
    strict.kill().await;
    let _good = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered again", registered(2)).await;
    node.end().await;
}

#[tokio::test]
async fn it_leaves_no_socket_behind() {
    let node = Node::start();
    let _kubelet = FakeKubelet::start(&node.kubelet_dir());
    node.until("registered", registered(1)).await;
    let socket = node.kubelet_dir().join("rdmamesh.io_rdma.sock");
    assert!(socket.exists());
    node.stop.cancel();
    timeout(PATIENCE, async {
        while !node.plugin.is_finished() {
            sleep(STEP).await;
        }
    })
    .await
    .expect("it ends when told to");
    assert!(!socket.exists());
}
