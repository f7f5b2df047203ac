//! The host's CPU and board: descriptor tables, vectors, local APIC, clocks, ACPI tables and the serial port.

#![no_std]
