//! Frames and their owners, host tables, guest-physical maps and the one accessor of guest memory.

#![no_std]
