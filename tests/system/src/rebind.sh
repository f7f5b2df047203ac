#!/bin/sh
# Takes drivers off their devices and gives them back. See rebinding.rs, which has it in a guest as /bin/rebind.
#   rebind disk ROUNDS    the disk's and its PCI function's, while it is read and written
#   rebind nic ROUNDS     the NIC's and its PCI function's, while frames come and go
#   rebind all            every virtio device's and every function's, with nothing going on
# Its last line is "rebind: done" when all is well.

# Every tenth of a second one looks: 120 s, a limit against hanging, never a measure.
PROBES=1200

fail() {
    echo "rebind: failed: $*"
    exit 1
}

# The driver of the device in the folder $1.
driver() {
    readlink -f "$1/driver"
}

# The number $2 in the file $1 grows: something is going on.
busy() {
    before=$(awk "{ print \$$2 }" "$1")
    for _ in $(seq $PROBES); do
        sleep 0.1
        [ "$(awk "{ print \$$2 }" "$1")" -gt "$before" ] && return
    done
    fail "nothing goes on according to $1"
}

# The class $1 has its device $2 again.
appears() {
    for _ in $(seq $PROBES); do
        [ -e "/sys/class/$1/$2" ] && return
        sleep 0.1
    done
    fail "there is no $2 again"
}

# A driver $1 and its device $2, which it lets go of.
unbind() {
    echo "$2" >"$1/unbind" || fail "unbind $2"
}

bind() {
    echo "$2" >"$1/bind" || fail "bind $2"
}

# Lets the driver of the folder $1 go in the middle of `traffic`, which `look` has seen, and calls it back after its end.
round() {
    device=$(readlink -f "$1")
    driver=$(driver "$device")
    traffic
    look
    unbind "$driver" "$(basename "$device")"
    halt
    bind "$driver" "$(basename "$device")"
}

disk() {
    # A node of our own: with the disk gone, a write to /dev/vda would make a file.
    traffic() {
        appears block vda
        rm -f /tmp/vda
        # shellcheck disable=SC2046
        mknod /tmp/vda b $(tr : ' ' </sys/block/vda/dev)
        (while dd if=/tmp/vda of=/dev/null bs=64k iflag=direct; do :; done) 2>/dev/null &
        (while dd if=/tmp/data of=/tmp/vda bs=64k conv=notrunc oflag=direct; do :; done) 2>/dev/null &
    }
    # Both end by themselves: with errors. As long as they had the disk, the new one would be vdb.
    halt() {
        wait
    }
    look() {
        busy /sys/block/vda/stat 1
        busy /sys/block/vda/stat 5
    }
    dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
    dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null
    for _ in $(seq "$1"); do
        for device in /sys/block/vda/device /sys/block/vda/device/..; do
            round "$device"
            appears block vda
            dd if=/dev/vda bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/data || fail "the disk holds something else"
        done
    done
}

nic() {
    traffic() {
        (while :; do peer udp-send 10.0.0.2 5003 100; done) >/dev/null &
    }
    halt() {
        kill $!
        wait
    }
    look() {
        busy /sys/class/net/eth0/statistics/rx_packets 1
        busy /sys/class/net/eth0/statistics/tx_packets 1
    }
    for _ in $(seq "$1"); do
        for device in /sys/class/net/eth0/device /sys/class/net/eth0/device/..; do
            round "$device"
            appears net eth0
            ip addr add 10.0.0.1/24 dev eth0
            ip link set eth0 up
            peer udp-ping 10.0.0.2 5001 20 || fail "the NIC does not work"
        done
    done
}

all() {
    for device in /sys/bus/virtio/devices/* /sys/bus/pci/drivers/virtio-pci/0*; do
        driver=$(driver "$device")
        echo "rebind: $(basename "$device") of $(basename "$driver")"
        unbind "$driver" "$(basename "$device")"
        bind "$driver" "$(basename "$device")"
        [ "$(driver "$device")" = "$driver" ] || fail "$device has no driver"
    done
    [ "$(head -c 16 /dev/hwrng | wc -c)" = 16 ] || fail "there is no entropy"
}

"$@"
echo "rebind: done"
