#!/bin/busybox sh
# The first process of the guest. Its root becomes the host's, copy on write: what is written goes to memory and is gone with it.
# What to run, and where, is in /share; see guest.rs.
b=/bin/busybox
fail() { echo "vm: $*" >/dev/console; $b poweroff -f; }

$b mkdir -p /proc /dev /lower /upper /root /share
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
for module in /modules/*.ko; do $b insmod "$module" || fail "cannot load $module"; done
nine=trans=virtio,version=9p2000.L,msize=524288
$b mount -t 9p -o $nine,cache=loose,ro host /lower || fail "cannot mount the host's root"
$b mount -t 9p -o $nine share /share || fail "cannot mount the shared directory"
$b mount -t tmpfs tmpfs /upper
$b mkdir /upper/data /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /root || fail "no overlay"

r=/root
$b mount -t proc proc $r/proc
$b mount -t sysfs sysfs $r/sys
$b mount --move /dev $r/dev
$b mkdir -p $r/dev/pts $r/dev/shm
$b ln -s /proc/self/fd $r/dev/fd
$b mount -t devpts devpts $r/dev/pts
$b mount -t tmpfs tmpfs $r/dev/shm
$b mount -t tmpfs -o mode=755 tmpfs $r/run
$b mount -t cgroup2 cgroup2 $r/sys/fs/cgroup
$b mount -t bpf bpf $r/sys/fs/bpf
# Modules where the kernel and modprobe look for them, whatever the host has there.
$b mkdir -p $r/lib/modules $r/run/vm
$b mount --bind "/lower$($b cat /share/kernel)/lib/modules" $r/lib/modules || fail "no modules"
$b mount --move /share $r/run/vm
$b cp $b $r/run/busybox
$b umount /proc
exec $b switch_root $r /run/busybox sh /run/vm/main
