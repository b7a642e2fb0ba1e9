#!/bin/bash
# Turns a host's network namespace into a Kubernetes node and holds its mount namespace: folders of its own for
# kubelet, containerd and CNI, the control groups (`ip netns exec` hides them), pod forwarding and the service address.
# $1 is the node's settings folder, $2 the folder in the guest's memory that keeps what the node stores.
set -eu
settings=$1 store=$2
mount --make-rprivate /
# What survives a reboot of the node lies in `disk`, the rest in `memory`.
rm -rf "$store/memory"
while read -r place kind; do
  mkdir -p "$store/$kind$place" "$place"
  mount --bind "$store/$kind$place" "$place"
done <<'END'
/var/lib/kubelet disk
/var/lib/containerd disk
/var/lib/cni disk
/var/log/containers disk
/etc/cni/net.d disk
/opt/cni disk
/run/containerd memory
/run/cni memory
/run/rdmamesh memory
END
# Seen from the host machine too.
mkdir -p /var/log/pods
mount --bind "$settings/pods" /var/log/pods
cp "$settings/pods.conflist" /etc/cni/net.d/
mount -t cgroup2 cgroup2 /sys/fs/cgroup
sysctl -qw net.ipv4.ip_forward=1
nft -f "$settings/node.nft"
echo up >"$store/memory/up"
exec sleep infinity
