#!/bin/bash
# The first process in the root file system of Debian's packages. See setup/rootfs.rs.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=vt100
for place in proc sys dev; do
    mountpoint -q "/$place" || mount -t "${place/dev/devtmpfs}" "$place" "/$place"
done
mount -o remount,rw /
echo root >/proc/sys/kernel/hostname
# Only warnings and worse may write into the shell's lines.
echo 4 >/proc/sys/kernel/printk
cd /root || exit
echo "Debian $(cat /etc/debian_version) on $(findmnt -n -o SOURCE /) in a virtual machine of Cofferdam."
console=/dev/$(tail -n 1 /sys/class/tty/console/active | tr ' ' '\n' | tail -n 1)
setsid -w bash -c "PS1='\\h:\\w# ' exec bash --norc <$console >$console 2>&1"
sync
mount -o remount,ro /
# No package with `poweroff` is needed for this.
echo o >/proc/sysrq-trigger
sleep 60
