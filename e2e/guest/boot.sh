#!/bin/bash
# Process 1 of the guest once it stands on the host's root file system: kernel file systems, modules, the
# uplink, then the guest agent for ever. $1 is the run folder, which holds guest.env.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8
source "$1/guest.env" # RIG_BINARY, RIG_MODULES, RIG_PORT, RIG_NAME
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /run/netns /run/lock
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The kernel patches its own code when the first group with a controller is made; under software emulation a processor
# that runs that code meanwhile may trip over it (oops "int3"). So it is done now, while nothing else runs.
echo '+cpu +cpuset +memory +pids +hugetlb +io' >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/keep
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /lib/modules
mount --bind "$RIG_MODULES" /lib/modules
hostname "$RIG_NAME"
ip link set lo up
modprobe -a virtio_net veth bridge sch_netem rdma_rxe ib_uverbs rdma_ucm nft_chain_nat nft_masq
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
echo "rig-guest: booted in $(cut -d' ' -f1 /proc/uptime) s"
while true; do
  "$RIG_BINARY" guest-agent --listen "0.0.0.0:$RIG_PORT"
  echo "rig-guest: agent ended with status $?"
done
