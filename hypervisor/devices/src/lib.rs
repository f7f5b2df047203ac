//! What guests see: UART, interrupt controllers, timers, RTC, power and ACPI tables, as pure state machines.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
