//! The end for what should be impossible: says where it happened, and lets firmware go on, or resets without one.

use super::console::{Console, is_firmware_gone};
use core::panic::PanicInfo;
use core::ptr;
use uefi::Status;
use uefi::runtime::ResetType;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut console = Console::new();
    console.line(format_args!("cofferdam: boot: internal error: {info}: please report it"));
    if !is_firmware_gone() {
        // SAFETY: the program ends here, as if it had returned; nothing that it has registered calls it later.
        let _ = unsafe { uefi::boot::exit(uefi::boot::image_handle(), Status::ABORTED, 0, ptr::null_mut()) };
    }
    uefi::runtime::reset(ResetType::COLD, Status::ABORTED, None)
}
