#!/bin/busybox sh
# First program in the guest (the whole initramfs is busybox, this file and five modules): puts a writable
# layer over the host's root file system and goes on with boot.sh there. Kernel parameters: rig.target= and
# rig.run= are the absolute host paths of the build folder (read-only) and of this VM's run folder (writable).
# Both appear in the guest at the path they have on the host. rig.probe
# ends the guest here: all that was asked is whether this kernel runs.
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /ro /rw /new
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
fail() { echo "rig-guest: $1"; poweroff -f; }
for module in /modules/*.ko; do insmod "$module" || fail "module $module does not load"; done
for word in $(cat /proc/cmdline); do
  case "$word" in
    rig.target=*) target="${word#rig.target=}" ;;
    rig.run=*) run="${word#rig.run=}" ;;
    rig.probe) echo "rig-guest: probe passed"; poweroff -f ;;
  esac
done
options=trans=virtio,version=9p2000.L,msize=512000
# The host's system files do not change while the VM lives, so they may be cached without asking the host again.
mount -t 9p -o "ro,cache=loose,$options" hostroot /ro || fail "the host's root cannot be mounted"
mount -t tmpfs -o size=60% layer /rw
mkdir /rw/up /rw/aside
mount -t overlay -o lowerdir=/ro,upperdir=/rw/up,workdir=/rw/aside overlay /new || fail "the overlay cannot be mounted"
# The guest's own scratch folders come first: the build folder may lie below one of them.
mount -t tmpfs -o mode=755 run /new/run
mount -t tmpfs -o mode=1777 tmp /new/tmp
mkdir -p "/new$target"
# Binaries are rebuilt while the VM runs: this mount asks the host again at every open.
mount -t 9p -o "ro,cache=mmap,$options" target "/new$target" || fail "the build folder cannot be mounted"
mkdir -p "/new$run"
mount -t 9p -o "cache=mmap,$options" run "/new$run" || fail "the run folder cannot be mounted"
umount /sys
mount --move /dev /new/dev
mount --move /proc /new/proc
exec switch_root /new /bin/bash "$run/boot.sh" "$run"
