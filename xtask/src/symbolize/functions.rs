//! Functions by their place in the image: the symbol table.

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::endian::LittleEndian;

/// A function's place in the image.
#[derive(Debug)]
struct Function {
    start: u64,
    len_bytes: u64,
    name: String,
}

/// All functions, sorted by start.
#[derive(Debug, Default)]
pub struct Functions(Vec<Function>);

impl Functions {
    /// Reads the symbol table of an ELF file.
    ///
    /// # Errors
    /// When `file` is none or has no symbols.
    pub fn read(file: &[u8]) -> Result<Self> {
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

    /// The function that holds the byte at `offset`, and how far in it is.
    pub fn name_at(&self, offset: u64) -> Option<String> {
        let after = self.0.partition_point(|function| function.start <= offset);
        let function = self.0.get(after.checked_sub(1)?)?;
        let inside = offset - function.start;
        (inside < function.len_bytes.max(1)).then(|| format!("{}+{inside:#x}", function.name))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two functions of 16 bytes from 0x1000 on.
    pub fn two_functions() -> Functions {
        let function = |start, name: &str| Function { start, len_bytes: 0x10, name: name.into() };
        Functions(vec![function(0x1000, "first"), function(0x1010, "second")])
    }

    #[test]
    fn garbage_is_no_symbol_table() {
        for garbage in [&b""[..], b"no ELF", b"\x7fELF\x02\x01\x01"] {
            assert!(Functions::read(garbage).is_err());
        }
    }
}
