#!/bin/busybox sh
# The first process of the guest. Starts the line to the host and decides nothing.
export PATH=/bin HOME=/root LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
while read -r module; do
    insmod "/lib/modules/$module"
done </etc/modules
ip link set lo up
if ip link set eth0 up 2>/dev/null; then
    ip address add 10.0.2.15/24 dev eth0
fi
if grep -q packmule.systemd /proc/cmdline; then
    # Services have a root of their own, which cannot be had where the root is what the kernel has unpacked.
    mkdir /new
    mount -t tmpfs root /new
    cp -a /bin /etc /lib /lib64 /root /usr /var /mnt /new
    mkdir /new/proc /new/sys /new/dev /new/run /new/tmp
    # Anew, and not moved: a shell that has no /dev/null starts nothing in the background.
    mount -t proc proc /new/proc
    mount -t sysfs sys /new/sys
    mount -t devtmpfs dev /new/dev
    chroot /new vm-guest vm-guest &
    # What it is started with is gone soon.
    until [ "$(readlink "/proc/$!/root")" = /new ]; do
        sleep 0.1
    done
    exec switch_root /new /lib/systemd/systemd
fi
cd /root
vm-guest vm-guest
# All that a shell that exits could do is to stop the kernel in panic.
sync
poweroff -f
