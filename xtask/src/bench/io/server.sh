#!/bin/sh
# What the guest does that answers the measured one (../io.rs).
peer udp-echo 5001 &
peer tcp-drain 5000 &
ip addr add 10.0.0.2/24 dev eth0
ip link set eth0 up
echo serving
wait
