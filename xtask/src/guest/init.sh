#!/bin/busybox sh
# The first process of the demo's guest. See initramfs.rs.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s

# Drivers of virtio devices, where there are any (PCI vendor 0x1af4), by the kernel's series: 6.12.
if grep -qs 0x1af4 /sys/bus/pci/devices/*/vendor; then
    for module in /lib/modules/"$(uname -r | cut -d. -f1-2)"/*.ko; do
        insmod "$module"
    done
fi
# A console whose driver is one of these was not there when the kernel opened it for this process.
[ -t 0 ] || exec </dev/console >/dev/console 2>&1

export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=vt100 PS1='\h:\w# '
[ "$(hostname)" = "(none)" ] && hostname demo
# Only warnings and worse may write into the shell's lines.
echo 4 >/proc/sys/kernel/printk
cd /root || exit

# A root file system that the kernel's command line names takes over.
root=$(sed -n 's/^\(.* \)\{0,1\}root=\([^ ]*\).*$/\2/p' /proc/cmdline)
if [ -n "$root" ]; then
    mount "$root" /mnt || exec sh
    for place in proc sys dev; do
        mount --move "/$place" "/mnt/$place"
    done
    exec switch_root /mnt /sbin/init
fi

# What else the command line asks for: disk=/dev/vda address=10.0.2.15/24 gateway=10.0.2.2
[ -n "$disk" ] && mount "$disk" /mnt
if [ -n "$address" ]; then
    ip addr add "$address" dev eth0
    ip link set lo up
    ip link set eth0 up
fi
[ -n "$gateway" ] && ip route add default via "$gateway"

if [ -n "$run" ]; then
    sh -c "$run"
else
    echo
    echo "Linux $(uname -r) in a virtual machine of Cofferdam. \"poweroff -f\" or \"exit\" ends it."
    # A session of its own with the console as controlling terminal: job control, and Ctrl-C ends a command.
    setsid cttyhack sh
fi
poweroff -f
