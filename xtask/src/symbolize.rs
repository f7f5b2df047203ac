//! `cargo xtask symbolize`: names for the addresses in an epitaph.
//!
//! The hypervisor, when it dies, prints addresses as offsets in its image (`image+0x1234`). The offsets are those
//! of the ELF file in the build folder, provided that it is of the same build.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::endian::LittleEndian;

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

/// `log` with a name after each offset, by the symbols of the ELF file `hypervisor`.
///
/// # Errors
/// When the hypervisor cannot be read.
pub fn translate(log: &str, hypervisor: &Path) -> Result<String> {
    let functions =
        Functions::read(&paths::read(hypervisor)?).with_context(|| hypervisor.display().to_string())?;
    Ok(log.lines().map(|line| functions.translate(line) + "\n").collect())
}

/// A function's place in the image.
#[derive(Debug)]
struct Function {
    start: u64,
    len_bytes: u64,
    name: String,
}

/// All functions, sorted by start.
#[derive(Debug, Default)]
struct Functions(Vec<Function>);

impl Functions {
    /// Reads the symbol table of an ELF file.
    fn read(file: &[u8]) -> Result<Self> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)?;
        let (symbols, names) = elf.symbol_table()?.context("it has no symbols: was it stripped?")?;
        let mut functions: Vec<Function> = symbols
            .iter()
            .filter(|symbol| symbol.st_symtype() == elf::abi::STT_FUNC)
            .filter_map(|symbol| {
                let name = names.get(symbol.st_name as usize).ok()?;
                let name = format!("{:#}", rustc_demangle::demangle(name));
                Some(Function { start: symbol.st_value, len_bytes: symbol.st_size, name })
            })
            .collect();
        functions.sort_by_key(|function| function.start);
        Ok(Self(functions))
    }

    /// `line` with the function after each offset.
    fn translate(&self, line: &str) -> String {
        // A line of the way holds a return address: its call is before it, and the function may end with the call.
        let back = u64::from(line.starts_with("  "));
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) = rest.find(MARK) {
            let digits = &rest[at + MARK.len()..];
            let len = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            let (before, after) = rest.split_at(at + MARK.len() + len);
            out.push_str(before);
            let offset = u64::from_str_radix(&digits[..len], 16).ok();
            let name = offset.and_then(|offset| self.name_at(offset.checked_sub(back)?));
            if let Some(name) = name {
                out.push_str(&format!(" <{name}>"));
            }
            rest = after;
        }
        out + rest
    }

    /// The function that holds the byte at `offset`, and how far in it is.
    fn name_at(&self, offset: u64) -> Option<String> {
        let after = self.0.partition_point(|function| function.start <= offset);
        let function = self.0.get(after.checked_sub(1)?)?;
        let inside = offset - function.start;
        (inside < function.len_bytes.max(1)).then(|| format!("{}+{inside:#x}", function.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions() -> Functions {
        let function = |start, name: &str| Function { start, len_bytes: 0x10, name: name.into() };
        Functions(vec![function(0x1000, "first"), function(0x1010, "second")])
    }

    #[test]
    fn an_offset_gets_the_name_of_its_function() {
        let line = functions().translate("rip 0xffffffff80201013 image+0x1013, called from image+0x100f");
        assert_eq!(
            line,
            "rip 0xffffffff80201013 image+0x1013 <second+0x3>, called from image+0x100f <first+0xf>"
        );
    }

    #[test]
    fn a_return_address_belongs_to_the_function_that_called() {
        let line = "  0xffffffff80201010 image+0x1010";
        assert_eq!(functions().translate(line), format!("{line} <first+0xf>"));
    }

    #[test]
    fn an_offset_outside_of_all_functions_and_other_text_stay() {
        for line in ["image+0xfff", "image+0x1020", "image+0x", "nothing here"] {
            assert_eq!(functions().translate(line), line);
        }
    }
}
