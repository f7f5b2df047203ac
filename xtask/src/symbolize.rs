//! `cargo xtask symbolize`: functions and source lines for the addresses in an epitaph.
//!
//! The hypervisor, when it dies, prints addresses as offsets in its image (`image+0x1234`). The offsets are those
//! of the ELF file in the build folder, provided that it is of the same build. That file has symbols and line tables;
//! the image on the ESP has neither ([`crate::image::without_sections`]).
//!
//! ```text
//!   0xffffffff80212345 image+0x12345 <cofferdam::run::for_ever+0x85>
//!         cofferdam::faults::die_if_chosen, hypervisor/kernel/src/faults.rs:85     inlined into
//!         cofferdam::run::for_ever, hypervisor/kernel/src/run.rs:60                this
//! ```

mod functions;
mod lines;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
pub use functions::Functions;
use lines::Lines;

use crate::build::Hypervisor;
use crate::paths;

/// What precedes an offset.
const MARK: &str = "image+0x";

/// What to translate.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// A log that holds an epitaph [default: standard input]
    log: Option<PathBuf>,
    /// The hypervisor that wrote it, with symbols [default: the one built last]
    #[arg(long, value_name = "ELF")]
    hypervisor: Option<PathBuf>,
}

/// Prints the log with a name after each offset.
///
/// # Errors
/// When the log or the hypervisor cannot be read.
pub fn command(options: &Options) -> Result<()> {
    let log = match &options.log {
        Some(path) => paths::read(path)?,
        None => {
            let mut log = Vec::new();
            std::io::stdin().read_to_end(&mut log)?;
            log
        }
    };
    let path = options.hypervisor.clone().unwrap_or_else(|| Hypervisor::built().kernel);
    print!("{}", translate(&String::from_utf8_lossy(&log), &path)?);
    Ok(())
}

/// `log` with a function after each offset, and below each line of it the source lines, the innermost first, by the
/// symbols and line tables of the ELF file `hypervisor`.
///
/// # Errors
/// When the hypervisor cannot be read, or has no symbols.
pub fn translate(log: &str, hypervisor: &Path) -> Result<String> {
    let place = || hypervisor.display().to_string();
    let functions = Functions::read(&paths::read(hypervisor)?).with_context(place)?;
    let lines = Lines::read(hypervisor).with_context(place)?;
    Ok(log.lines().map(|line| translate_line(line, &functions, |offset| lines.at(offset))).collect())
}

/// `line` with the function after each offset, and what `frames` tells of each offset on lines of their own.
#[must_use]
pub fn translate_line(line: &str, functions: &Functions, frames: impl Fn(u64) -> Vec<String>) -> String {
    // A line of the way holds a return address: its call is before it, and the function may end with the call.
    let back = u64::from(line.starts_with("  "));
    let (mut out, mut below) = (String::new(), String::new());
    let mut rest = line;
    while let Some(at) = rest.find(MARK) {
        let digits = &rest[at + MARK.len()..];
        let len = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let (before, after) = rest.split_at(at + MARK.len() + len);
        out.push_str(before);
        rest = after;
        let offset = u64::from_str_radix(&digits[..len], 16).ok();
        let Some(offset) = offset.and_then(|offset| offset.checked_sub(back)) else { continue };
        if let Some(name) = functions.name_at(offset) {
            out.push_str(&format!(" <{name}>"));
        }
        frames(offset).iter().for_each(|frame| below.push_str(&format!("        {frame}\n")));
    }
    out + rest + "\n" + &below
}

#[cfg(test)]
mod tests {
    use super::*;
    use functions::tests::two_functions;

    fn translated(line: &str) -> String {
        translate_line(line, &two_functions(), |_| Vec::new())
    }

    #[test]
    fn an_offset_gets_the_name_of_its_function() {
        assert_eq!(
            translated("rip 0xffffffff80201013 image+0x1013, called from image+0x100f"),
            "rip 0xffffffff80201013 image+0x1013 <second+0x3>, called from image+0x100f <first+0xf>\n"
        );
    }

    #[test]
    fn a_return_address_belongs_to_the_function_that_called() {
        let line = "  0xffffffff80201010 image+0x1010";
        assert_eq!(translated(line), format!("{line} <first+0xf>\n"));
    }

    #[test]
    fn an_offset_outside_of_all_functions_and_other_text_stay() {
        for line in ["image+0xfff", "image+0x1020", "image+0x", "nothing here"] {
            assert_eq!(translated(line), format!("{line}\n"));
        }
    }

    #[test]
    fn source_lines_stand_below_the_innermost_first() {
        let frames = |offset| vec![format!("inner, a.rs:{offset}"), "outer, b.rs:7".into()];
        assert_eq!(
            translate_line("  image+0x1001", &two_functions(), frames),
            "  image+0x1001 <first+0x0>\n        inner, a.rs:4096\n        outer, b.rs:7\n"
        );
    }

    #[test]
    fn a_hypervisor_without_symbols_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"no ELF").unwrap();
        let error = format!("{:#}", translate("", file.path()).unwrap_err());
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
