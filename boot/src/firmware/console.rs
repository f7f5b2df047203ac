//! Where boot speaks: firmware's console, and the serial line unless firmware's console already goes there. Once
//! firmware is gone, the serial line alone. `unsafe` only to look at device paths that others have open.

use super::uart::{Setup, Uart};
use alloc::{format, vec::Vec};
use base::Port;
use boot::device_path::serial_port;
use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use uefi::boot::{OpenProtocolAttributes, OpenProtocolParams, SearchType};
use uefi::proto::device_path::DevicePath;
use uefi::{Guid, Handle, guid};

/// Firmware's tag on the handles that its console writes to (EDK2, `ConsoleOutDevice.h`).
const CONSOLE_OUT_DEVICE: Guid = guid!("d3b36f2c-d551-11d4-9a46-0090273fc14d");

/// The port before the configuration is known.
const FIRST_PORT: Port = Port(0x3F8);

static FIRMWARE_IS_GONE: AtomicBool = AtomicBool::new(false);

/// To be called when boot services have been left.
pub(super) fn firmware_is_gone() {
    FIRMWARE_IS_GONE.store(true, Ordering::Relaxed);
}

/// Whether boot services have been left.
pub(super) fn is_firmware_gone() -> bool {
    FIRMWARE_IS_GONE.load(Ordering::Relaxed)
}

/// Both consoles as one.
pub(crate) struct Console {
    /// The serial ports that firmware's console goes to.
    mirrored: Vec<Port>,
    port: Port,
    uart: Option<Uart>,
}

impl Console {
    /// Firmware's console, and the first serial port.
    pub(crate) fn new() -> Self {
        let mirrored = if is_firmware_gone() { Vec::new() } else { firmwares_ports() };
        let mut console = Self { mirrored, port: FIRST_PORT, uart: None };
        console.uart = console.find(FIRST_PORT);
        console
    }

    /// Goes on at the serial port that the configuration names, if it names one.
    pub(crate) fn move_to(&mut self, port: Option<Port>) {
        if let Some(port) = port.filter(|port| *port != self.port) {
            self.port = port;
            self.uart = self.find(port);
        }
    }

    /// Says one line.
    pub(crate) fn line(&mut self, text: Arguments<'_>) {
        let line = format!("{text}\r\n");
        if !is_firmware_gone() {
            uefi::system::with_stdout(|out| {
                // Nothing can be done about a console that does not work.
                let _ = out.write_str(&line);
            });
        }
        if let Some(uart) = &self.uart {
            uart.send(&line);
        }
    }

    /// The UART at `port`, unless firmware's console has it.
    fn find(&self, port: Port) -> Option<Uart> {
        let setup = if is_firmware_gone() { Setup::Keep } else { Setup::Program };
        if self.mirrored.contains(&port) { None } else { Uart::find(port, setup) }
    }
}

/// The serial ports behind firmware's console.
fn firmwares_ports() -> Vec<Port> {
    let devices = uefi::boot::locate_handle_buffer(SearchType::ByProtocol(&CONSOLE_OUT_DEVICE));
    devices.map(|handles| handles.iter().copied().filter_map(port_of).collect()).unwrap_or_default()
}

fn port_of(handle: Handle) -> Option<Port> {
    let params = OpenProtocolParams { handle, agent: uefi::boot::image_handle(), controller: None };
    // SAFETY: the path is read at once; no driver is loaded or unloaded meanwhile.
    let path =
        unsafe { uefi::boot::open_protocol::<DevicePath>(params, OpenProtocolAttributes::GetProtocol) };
    serial_port(path.ok()?.as_bytes())
}
