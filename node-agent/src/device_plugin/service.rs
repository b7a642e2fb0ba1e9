//! What the kubelet asks of the plugin.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use rdmamesh_verbs::SysfsRoot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::api::device_plugin_server::DevicePlugin;
use super::api::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, ContainerPreferredAllocationResponse, DevicePluginOptions,
    Empty, ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse,
    PreferredAllocationRequest, PreferredAllocationResponse,
};
use super::nodes::{Maker, Nodes};
use super::stock::{Stock, is_nodes};

/// What the plugin can do.
pub(super) const OPTIONS: DevicePluginOptions = DevicePluginOptions {
    pre_start_required: false,
    get_preferred_allocation_available: true,
};

/// The service. Cheap to clone.
pub(super) struct Plugin<M> {
    stock: watch::Receiver<Arc<Stock>>,
    nodes: Arc<Nodes<M>>,
    sysfs: SysfsRoot,
    /// Ends the streams of one server; without it a server that stops would wait for them for ever.
    closing: CancellationToken,
}

impl<M> Clone for Plugin<M> {
    fn clone(&self) -> Self {
        Self {
            stock: self.stock.clone(),
            nodes: Arc::clone(&self.nodes),
            sysfs: self.sysfs.clone(),
            closing: self.closing.clone(),
        }
    }
}

impl<M: Maker> Plugin<M> {
    pub(super) fn new(
        stock: watch::Receiver<Arc<Stock>>,
        nodes: Nodes<M>,
        sysfs: SysfsRoot,
    ) -> Self {
        Self {
            stock,
            nodes: Arc::new(nodes),
            sysfs,
            closing: CancellationToken::new(),
        }
    }

    /// The same for one server.
    pub(super) fn until(&self, closing: CancellationToken) -> Self {
        Self {
            closing,
            ..self.clone()
        }
    }

    /// What one container gets.
    async fn allocate_one(&self, wanted: &[String]) -> Result<ContainerAllocateResponse, Status> {
        let stock = Arc::clone(&self.stock.borrow());
        if let Some(refusal) = wanted.iter().find_map(|id| stock.refusal(id)) {
            tracing::warn!(?wanted, refusal, "allocation refused");
            return Err(Status::failed_precondition(refusal));
        }
        let (nodes, sysfs) = (Arc::clone(&self.nodes), self.sysfs.clone());
        let devices = tokio::task::spawn_blocking(move || nodes.hand_out(&sysfs))
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        if devices.is_empty() {
            tracing::warn!(
                ?wanted,
                "no device node to give: the container starts without any"
            );
        } else {
            tracing::info!(
                ?wanted,
                nodes = devices.len(),
                "devices given to a container"
            );
        }
        Ok(ContainerAllocateResponse {
            devices,
            ..ContainerAllocateResponse::default()
        })
    }
}

/// The node's own shares first: their health does not depend on a port.
fn preferred(request: &ContainerPreferredAllocationRequest) -> Vec<String> {
    let must = &request.must_include_device_i_ds;
    let (own, others): (Vec<&String>, Vec<&String>) = request
        .available_device_i_ds
        .iter()
        .filter(|id| !must.contains(id))
        .partition(|id| is_nodes(id));
    let wanted = usize::try_from(request.allocation_size).unwrap_or(0);
    let all = must.iter().chain(own).chain(others);
    all.take(wanted).cloned().collect()
}

#[tonic::async_trait]
impl<M: Maker> DevicePlugin for Plugin<M> {
    type ListAndWatchStream =
        Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(OPTIONS))
    }

    async fn list_and_watch(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let list = |stock: &Arc<Stock>| ListAndWatchResponse {
            devices: stock.list(),
        };
        let mut stock = self.stock.clone();
        let first = list(&stock.borrow_and_update());
        tracing::info!(shares = first.devices.len(), "kubelet lists the shares");
        let changes = stream::unfold(stock, move |mut stock| async move {
            // It ends with the plugin.
            stock.changed().await.ok()?;
            let next = list(&stock.borrow_and_update());
            Some((Ok(next), stock))
        });
        let all = stream::once(async { Ok(first) })
            .chain(changes)
            .take_until(self.closing.clone().cancelled_owned());
        Ok(Response::new(Box::pin(all)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let requests = request.into_inner().container_requests;
        let container_responses = requests
            .iter()
            .map(|one| ContainerPreferredAllocationResponse {
                device_i_ds: preferred(one),
            })
            .collect();
        Ok(Response::new(PreferredAllocationResponse {
            container_responses,
        }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let mut container_responses = Vec::new();
        for one in request.into_inner().container_requests {
            container_responses.push(self.allocate_one(&one.devices_ids).await?);
        }
        Ok(Response::new(AllocateResponse {
            container_responses,
        }))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}
