//! Ranked locks, byte rings and pending-interrupt descriptors: all sharing between CPUs.

#![no_std]
