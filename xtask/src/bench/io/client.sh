#!/bin/sh
# What the measured guest does (../io.rs). Each operation is done so many times, and then twice so many times: the
# difference is free of what programs take to begin and end. Snapshots are asked for by `peer mark`.

# measure NUMBER COUNT COMMAND: the command gets a count as its last word.
measure() {
    number=$1 count=$2
    shift 2
    "$@" 1 || echo "failed: $*"
    peer mark "$number" >/dev/null
    "$@" "$count" || echo "failed: $* $count"
    peer mark "$number" >/dev/null
    "$@" $((count * 2)) || echo "failed: $* $((count * 2))"
    peer mark "$number" >/dev/null
    echo "measured $number"
}

# read_disk BYTES COUNT
read_disk() {
    dd if=/dev/vda of=/dev/null iflag=direct bs="$1" count="$2" 2>/dev/null
}

quiet() {
    "$@" >/dev/null
}

ip addr add 10.0.0.1/24 dev eth0
ip link set eth0 up
# The other guest takes its address when it is ready.
tries=0
until ping -c 1 -W 1 10.0.0.2 >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 120 ]; then
        echo "failed: 10.0.0.2 answered none of $tries pings"
        exit 1
    fi
done
sleep 1

measure 1 1000 read_disk 4k
measure 2 80 read_disk 64k
measure 3 5 read_disk 1M
measure 4 500 quiet peer udp-ping 10.0.0.2 5001
measure 5 8 quiet peer tcp-pour 10.0.0.2 5000
