#!/bin/bash
# Lays out the root file system of an image in FOLDER: the libraries of the given Debian packages as they are installed
# here, the certificates of the public CAs, and a user that is not root. No shell, no package manager, no manual.
# Used by both Dockerfiles and by `rig images`, so that all three make the same content.
#   rootfs.sh FOLDER PACKAGE...
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: rootfs.sh FOLDER PACKAGE..." >&2; exit 2; }
root=$1; shift

for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
    { echo "rootfs.sh: $package is not installed: apt-get install $package" >&2; exit 1; }
done

mkdir -p "$root"/{dev,etc/ssl/certs,home/nonroot,proc,run,sys,tmp,usr/{bin,lib,lib64,sbin,share},var/lib/dpkg/status.d}
for folder in bin lib lib64 sbin; do ln -s "usr/$folder" "$root/$folder"; done

# Package lists say /lib/… where the file is in /usr/lib/… since Debian merged the two.
dpkg -L "$@" | sed -E 's#^/(lib|lib64)/#/usr/\1/#' | sort -u | while read -r path; do
  [ ! -d "$path" ] || [ -h "$path" ] || continue
  case $path in
    */gconv/* | */audit/*) continue ;;
    /usr/lib/*.so | /usr/lib/*.so.* | /usr/lib64/*.so.* | /etc/libibverbs.d/*) ;;
    /usr/lib/os-release | /etc/debian_version) ;;
    *) continue ;;
  esac
  mkdir -p "$root${path%/*}"
  cp -a "$path" "$root$path"
done
ln -s ../usr/lib/os-release "$root/etc/os-release"

for package in "$@"; do
  mkdir -p "$root/usr/share/doc/$package"
  # Licences stay with the files; a slim machine may have left them out.
  cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/" 2>/dev/null || true
  # What scanners for known vulnerabilities read.
  dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
done

# Debian's own list, not what somebody has added to this machine.
[ -d /usr/share/ca-certificates/mozilla ] ||
  { echo "rootfs.sh: no certificates: apt-get install ca-certificates" >&2; exit 1; }
(LC_ALL=C; cat /usr/share/ca-certificates/mozilla/*.crt) >"$root/etc/ssl/certs/ca-certificates.crt"

printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
