#!/usr/bin/env bash
# Installs RdmaMesh on a kind cluster whose nodes each have a soft-RoCE device. `setup.sh check` only looks whether this
# host can do that, and says what to do where it cannot. See README.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
chart=${RDMAMESH_CHART:-$here/../charts/rdmamesh}
images=${RDMAMESH_IMAGES:-$here/../target/images}
cluster=${RDMAMESH_CLUSTER:-rdmamesh}
# For tests: where the kernel's own files are, and what it calls itself.
root=${RDMAMESH_ROOT:-}
kernel=${RDMAMESH_KERNEL:-$(uname -r)}
# The first kernel in which a soft-RoCE device belongs to its network namespace, which is a kind node here.
needed=7.1

missing=0
say() { printf '%s\n' "$*"; }
ok() { say "ok       $*"; }
lack() { missing=$((missing + 1)); say "missing  $1"; say "         do: $2"; }

check_program() {
	if command -v "$1" >/dev/null; then ok "$1"; else lack "the program $1 is not installed" "$2"; fi
}

check_kernel() {
	if [ "$(printf '%s\n%s\n' "$needed" "$kernel" | sort -V | head -n 1)" = "$needed" ]; then
		ok "kernel $kernel"
	else
		lack "kernel $kernel is older than $needed, in which each kind node can have a soft-RoCE device of its own" \
			"boot a kernel of $needed or later (Debian: trixie-backports), or use the fabric VM instead: make demo"
	fi
}

check_rxe() {
	if [ -d "$root/sys/module/rdma_rxe" ]; then
		ok "rdma_rxe is loaded"
	elif modinfo rdma_rxe >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
		if modprobe rdma_rxe 2>/dev/null; then ok "rdma_rxe was loaded now"; else
			lack "the kernel module rdma_rxe does not load" "see dmesg; with Secure Boot the module must be signed"
		fi
	elif modinfo rdma_rxe >/dev/null 2>&1; then
		lack "the kernel module rdma_rxe is not loaded" "sudo modprobe rdma_rxe"
	else
		lack "this kernel has no module rdma_rxe" \
			"install the kernel's extra modules (Ubuntu: linux-modules-extra-$kernel), or use the fabric VM instead: make demo"
	fi
}

check_netns_mode() {
	local mode
	command -v rdma >/dev/null || return 0
	mode=$(rdma system show 2>/dev/null | sed -n 's/.*netns \([a-z]*\).*/\1/p')
	case $mode in
	exclusive) ok "RDMA devices belong to network namespaces (netns exclusive)" ;;
	shared) lack "RDMA devices are shared by all network namespaces (netns shared), so that every node would show all of them" \
		"sudo rdma system set netns exclusive   (before any container with a network of its own runs)" ;;
	*) lack "rdma system does not say the netns mode" "sudo modprobe ib_core, and run this again" ;;
	esac
}

check_docker() {
	command -v docker >/dev/null || return 0
	if docker info >/dev/null 2>&1; then ok "docker answers"; else
		lack "docker does not answer" "start it, and add yourself to the group docker or run this as root"
	fi
}

check_images() {
	local name
	for name in rdmamesh-operator rdmamesh-agent; do
		if [ -f "$images/$name.tar" ]; then ok "image archive $name.tar"; else
			lack "there is no $images/$name.tar" "make images"
		fi
	done
}

check() {
	check_kernel
	check_rxe
	check_program rdma "apt-get install iproute2"
	check_netns_mode
	check_program docker "see docs.docker.com/engine/install"
	check_docker
	check_program kind "go install sigs.k8s.io/kind@v0.33.0"
	check_program kubectl "see kubernetes.io/docs/tasks/tools"
	check_program helm "see helm.sh/docs/intro/install"
	check_images
	if [ "$missing" -gt 0 ]; then
		say "$missing missing: nothing was changed"
		return 1
	fi
	say "this host can run RdmaMesh on kind"
}

# A device in the node's own network namespace, on its eth0.
give_rxe() {
	local node=$1 pid
	pid=$(docker inspect --format '{{.State.Pid}}' "$node")
	if nsenter --target "$pid" --net rdma link show 2>/dev/null | grep -q 'netdev eth0'; then
		ok "$node has a soft-RoCE device"
	else
		nsenter --target "$pid" --net rdma link add rxe0 type rxe netdev eth0
		ok "$node: rxe0 on eth0"
	fi
}

up() {
	check
	if kind get clusters 2>/dev/null | grep -qx "$cluster"; then
		ok "kind cluster $cluster is there"
	else
		mkdir -p "$root/dev/infiniband"
		kind create cluster --name "$cluster" --config "$here/kind.yaml" --wait 3m
	fi
	local node
	for node in $(kind get nodes --name "$cluster"); do
		case $node in *control-plane*) ;; *) give_rxe "$node" ;; esac
	done
	kind load image-archive --name "$cluster" "$images/rdmamesh-operator.tar"
	kind load image-archive --name "$cluster" "$images/rdmamesh-agent.tar"
	helm upgrade --install rdmamesh "$chart" --kube-context "kind-$cluster" --namespace rdmamesh-system --create-namespace \
		--set images.operator.pullPolicy=Never --set images.agent.pullPolicy=Never --wait --timeout 5m
	kubectl --context "kind-$cluster" apply -f "$chart/examples/mesh.yaml"
	say "wait for the verdict: kubectl --context kind-$cluster wait --for=condition=FabricHealthy rdmamesh/fabric --timeout=5m"
}

down() { kind delete cluster --name "$cluster"; }

case ${1:-up} in
check) check ;;
up) up ;;
down) down ;;
*)
	say "usage: setup.sh [check | up | down]"
	exit 2
	;;
esac
