//! VM-instruction errors: why VMLAUNCH or VMRESUME failed before any of the guest's state was loaded (SDM, volume 3,
//! section 31.4).

/// The text for error `number`.
pub const fn text(number: u64) -> &'static str {
    match number {
        0 => "VMLAUNCH or VMRESUME failed without a VMCS (SDM 31.2, VMfailInvalid)",
        4 => "VMLAUNCH with a VMCS that is not clear (SDM 31.4, error 4)",
        5 => "VMRESUME with a VMCS that was not launched (SDM 31.4, error 5)",
        6 => "VMRESUME after VMXOFF (SDM 31.4, error 6)",
        7 => "VM entry with invalid control fields (SDM 31.4, error 7; 27.2.1)",
        8 => "VM entry with invalid host-state fields (SDM 31.4, error 8; 27.2.2 to 27.2.4)",
        26 => "VM entry with events blocked by MOV SS (SDM 31.4, error 26)",
        _ => "VM entry failed with a VM-instruction error that it should not give (SDM 31.4)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_an_entry_are_told_apart() {
        let texts = [0, 4, 5, 6, 7, 8, 26].map(text);
        for (index, one) in texts.iter().enumerate() {
            assert!(one.contains("SDM 31"), "{one}");
            assert!(texts[..index].iter().all(|other| other != one), "{one}");
        }
    }
}
