//! Where boot speaks: firmware's console, and the serial line unless firmware's console already goes there. Once
//! firmware is gone, the serial line alone.

use super::uart::{Setup, Uart};
use alloc::format;
use base::Port;
use boot::device_path::has_uart;
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
    port: Port,
    uart: Option<Uart>,
    /// Firmware's console is on a serial line.
    is_mirrored: bool,
}

impl Console {
    /// Firmware's console, and the first serial port.
    pub(crate) fn new() -> Self {
        let is_mirrored = !is_firmware_gone() && is_firmware_on_serial();
        Self { port: FIRST_PORT, uart: find(FIRST_PORT, is_mirrored), is_mirrored }
    }

    /// Goes on at the serial port that the configuration names, if it names one.
    pub(crate) fn move_to(&mut self, port: Option<Port>) {
        if let Some(port) = port.filter(|port| *port != self.port) {
            self.port = port;
            self.uart = find(port, self.is_mirrored);
        }
    }

    /// Says one line.
    pub(crate) fn line(&mut self, text: Arguments<'_>) {
        let line = format!("{text}\r\n");
        let firmware = !is_firmware_gone();
        if firmware {
            uefi::system::with_stdout(|out| {
                // Nothing can be done about a console that does not work.
                let _ = out.write_str(&line);
            });
        }
        if let Some(uart) = self.uart.as_ref().filter(|_| !(firmware && self.is_mirrored)) {
            uart.send(&line);
        }
    }
}

fn find(port: Port, is_mirrored: bool) -> Option<Uart> {
    let setup = if is_mirrored || is_firmware_gone() { Setup::Keep } else { Setup::Program };
    Uart::find(port, setup)
}

/// Whether one of the devices behind firmware's console is a serial line.
fn is_firmware_on_serial() -> bool {
    let devices = uefi::boot::locate_handle_buffer(SearchType::ByProtocol(&CONSOLE_OUT_DEVICE));
    devices.is_ok_and(|handles| handles.iter().any(|handle| is_serial(*handle)))
}

fn is_serial(handle: Handle) -> bool {
    let params = OpenProtocolParams { handle, agent: uefi::boot::image_handle(), controller: None };
    // SAFETY: the path is read at once; no driver is loaded or unloaded meanwhile.
    let path =
        unsafe { uefi::boot::open_protocol::<DevicePath>(params, OpenProtocolAttributes::GetProtocol) };
    path.is_ok_and(|path| has_uart(path.as_bytes()))
}
