//! Checks on GDTR and IDTR (SDM 325462, volume 3, section 27.3.1.3).

use super::super::{Field, Refusal, View, reject_if};

pub fn check(view: &View<'_>) -> Result<(), Refusal> {
    for base in [Field::GUEST_GDTR_BASE, Field::GUEST_IDTR_BASE] {
        reject_if(
            !view.is_canonical(view.read(base)),
            "the base of guest GDTR or IDTR is not canonical (SDM 27.3.1.3)",
            &[base],
        )?;
    }
    for limit in [Field::GUEST_GDTR_LIMIT, Field::GUEST_IDTR_LIMIT] {
        reject_if(
            view.has(limit, !0xffff),
            "the limit of guest GDTR or IDTR is above 0xffff (SDM 27.3.1.3)",
            &[limit],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Case, each_is_named};
    use super::*;

    #[test]
    fn each_broken_descriptor_table_is_named() {
        let cases: [Case; 4] = [
            (|v| v.set(Field::GUEST_GDTR_BASE, 1 << 63), "GDTR or IDTR is not canonical"),
            (|v| v.set(Field::GUEST_IDTR_BASE, 1 << 47), "GDTR or IDTR is not canonical"),
            (|v| v.set(Field::GUEST_GDTR_LIMIT, 0x1_0000), "above 0xffff"),
            (|v| v.set(Field::GUEST_IDTR_LIMIT, 0xffff_ffff), "above 0xffff"),
        ];
        each_is_named(&cases, super::super::check);
    }
}
