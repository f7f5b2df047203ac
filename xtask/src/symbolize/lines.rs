//! Source lines by place in the image: the line tables, and the calls that the compiler inlined.

use std::path::Path;

use addr2line::Loader;
use anyhow::{Result, anyhow};

use crate::paths;

/// The line tables of a program.
pub struct Lines(Loader);

impl Lines {
    /// Reads the line tables of an ELF file.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let loader = Loader::new(path).map_err(|error| anyhow!("it has no readable line tables: {error}"))?;
        Ok(Self(loader))
    }

    /// The frames at `offset`, the innermost first: `function, file:line`. None where the tables know nothing.
    pub fn at(&self, offset: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let Ok(mut frames) = self.0.find_frames(offset) else { return lines };
        // Damaged tables end the list.
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|name| name.raw_name().ok());
            let name = name.map(|name| format!("{:#}", rustc_demangle::demangle(&name)));
            let place = frame.location.and_then(|place| Some((place.file?, place.line?)));
            let place = place.map(|(file, line)| format!("{}:{line}", in_workspace(file)));
            lines.extend(name.into_iter().chain(place).reduce(|name, place| format!("{name}, {place}")));
        }
        lines
    }
}

/// `file` relative to the checkout, if it is below it.
fn in_workspace(file: &str) -> String {
    let path = Path::new(file);
    path.strip_prefix(paths::workspace()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_this_program_is_found() {
        // A test is a program with line tables too; a function of it is where it was loaded plus its offset.
        let lines = Lines::read(&std::env::current_exe().unwrap()).unwrap();
        let names_it = |offset: u64| {
            lines.at(offset).iter().any(|frame| frame.contains("xtask/src/symbolize/lines.rs:"))
        };
        let text = 0..16_u64 << 20;
        assert!(text.step_by(16).any(names_it), "no line of this file is known");
    }

    #[test]
    fn a_file_below_the_checkout_is_named_relative_to_it() {
        let inside = paths::workspace().join("hypervisor/x.rs");
        assert_eq!(in_workspace(&inside.display().to_string()), "hypervisor/x.rs");
        assert_eq!(in_workspace("/rustc/1/library/core.rs"), "/rustc/1/library/core.rs");
    }
}
