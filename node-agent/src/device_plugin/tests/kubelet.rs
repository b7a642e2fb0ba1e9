//! As much of a kubelet as plugins see: it takes registrations, calls back and keeps the newest list. A kubelet that
//! starts removes all sockets of plugins.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::stream;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use super::PATIENCE;
use crate::device_plugin::api::device_plugin_client::DevicePluginClient;
use crate::device_plugin::api::registration_server::{Registration, RegistrationServer};
use crate::device_plugin::api::{
    AllocateRequest, ContainerAllocateRequest, ContainerPreferredAllocationRequest, Empty,
    PreferredAllocationRequest, RegisterRequest,
};

type List = Vec<(String, String)>;

/// What the server shares with the test.
#[derive(Clone)]
struct Inside {
    folder: PathBuf,
    refusal: Option<&'static str>,
    requests: Arc<Mutex<Vec<RegisterRequest>>>,
    list: Arc<watch::Sender<List>>,
    stop: CancellationToken,
}

/// A kubelet that runs.
pub(super) struct FakeKubelet {
    inside: Inside,
    server: tokio::task::JoinHandle<()>,
}

impl FakeKubelet {
    pub(super) fn start(folder: &Path) -> Self {
        Self::new(folder, None)
    }

    /// Refuses every registration with this text.
    pub(super) fn that_refuses(folder: &Path, text: &'static str) -> Self {
        Self::new(folder, Some(text))
    }

    fn new(folder: &Path, refusal: Option<&'static str>) -> Self {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            std::fs::remove_file(entry.expect("readable").path()).ok();
        }
        let listener = UnixListener::bind(folder.join("kubelet.sock")).expect("a free path");
        let inside = Inside {
            folder: folder.to_owned(),
            refusal,
            requests: Arc::default(),
            list: Arc::new(watch::Sender::default()),
            stop: CancellationToken::new(),
        };
        let connections = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let server = Server::builder()
            .add_service(RegistrationServer::new(inside.clone()))
            .serve_with_incoming_shutdown(connections, inside.stop.clone().cancelled_owned());
        let server = tokio::spawn(async move { server.await.expect("it serves until stopped") });
        Self { inside, server }
    }

    /// Ends it; its socket stays, as after a crash.
    pub(super) async fn kill(self) {
        self.inside.stop.cancel();
        let ended = timeout(PATIENCE, self.server).await;
        ended.expect("it ends when told to").expect("no panic");
    }

    pub(super) fn requests(&self) -> Vec<RegisterRequest> {
        let requests = self.inside.requests.lock();
        requests.expect("no panic while held").clone()
    }

    /// Waits until the plugin has listed just this: ids and health.
    pub(super) async fn until_list(&self, wanted: &[(&str, &str)]) {
        let wanted: List = wanted
            .iter()
            .map(|(id, health)| ((*id).to_owned(), (*health).to_owned()))
            .collect();
        let mut list = self.inside.list.subscribe();
        let seen = timeout(PATIENCE, list.wait_for(|list| *list == wanted)).await;
        let last = self.inside.list.borrow().clone();
        assert!(seen.is_ok(), "wanted {wanted:?}, the last was {last:?}");
    }

    /// Calls the plugin.
    pub(super) async fn client(&self) -> DevicePluginClient<Channel> {
        let request = self.requests().pop().expect("it has registered");
        self.inside.connect(&request.endpoint).await
    }
}

impl Inside {
    async fn connect(&self, endpoint: &str) -> DevicePluginClient<Channel> {
        let path = self.folder.join(endpoint);
        let endpoint = Endpoint::try_from(format!("unix://{}", path.display()));
        let channel = endpoint.expect("a path").connect().await;
        DevicePluginClient::new(channel.expect("the plugin serves before it registers"))
    }

    /// Takes lists until it ends or the plugin does.
    async fn watch(self, mut client: DevicePluginClient<Channel>) {
        let answer = client.list_and_watch(Empty {}).await;
        let mut lists = answer.expect("it lists").into_inner();
        loop {
            let next = tokio::select! {
                () = self.stop.cancelled() => return,
                next = lists.message() => next,
            };
            // The stream ends with the plugin.
            let Ok(Some(list)) = next else { return };
            let devices = list.devices.into_iter();
            let list = devices.map(|device| (device.id, device.health));
            self.list.send_replace(list.collect());
        }
    }
}

#[tonic::async_trait]
impl Registration for Inside {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        if let Some(text) = self.refusal {
            return Err(Status::invalid_argument(text));
        }
        let request = request.into_inner();
        let mut client = self.connect(&request.endpoint).await;
        let options = client.get_device_plugin_options(Empty {}).await?;
        assert_eq!(Some(options.into_inner()), request.options);
        let mut requests = self.requests.lock().expect("no panic while held");
        requests.push(request);
        drop(requests);
        tokio::spawn(self.clone().watch(client));
        Ok(Response::new(Empty {}))
    }
}

/// Asks for devices for one container.
pub(super) fn ask(ids: &[&str]) -> AllocateRequest {
    AllocateRequest {
        container_requests: vec![ContainerAllocateRequest {
            devices_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }],
    }
}

/// Asks which of these to take.
pub(super) fn prefer(available: &[&str], size: i32) -> PreferredAllocationRequest {
    let available = available.iter().map(|id| (*id).to_owned()).collect();
    PreferredAllocationRequest {
        container_requests: vec![ContainerPreferredAllocationRequest {
            available_device_i_ds: available,
            must_include_device_i_ds: Vec::new(),
            allocation_size: size,
        }],
    }
}
