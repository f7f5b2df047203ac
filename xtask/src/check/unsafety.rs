//! Unsafe code: where it is, and that every site says why it is sound and every file why it needs any.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::source::{self, Source};

/// Crates outside of `hypervisor/` that may hold unsafe code.
const OTHERS: [&str; 7] = [
    "boot",
    "tests/emulator-oracle",
    "tests/firmware-tables",
    "tests/fuzz",
    "tests/guests",
    "tests/system",
    "xtask",
];

/// What one crate holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// `unsafe { … }` and `unsafe impl`.
    sites: usize,
    /// Those of them with a note.
    noted: usize,
    /// Where notes or headers lack.
    lacking: Vec<String>,
}

/// Checks all crates and tells their tallies as a table.
pub fn check() -> Result<String> {
    let mut table = String::from("\n          crate                   unsafe  with note");
    let mut lacking = Vec::new();
    let others = OTHERS.map(str::to_string);
    for dir in source::crates_below("hypervisor")?.into_iter().chain(others) {
        let sources = source::of_crate(&dir)?;
        if is_forbidden(&sources) {
            write!(table, "\n          {dir:<22}  forbidden")?;
            continue;
        }
        let tally = tally(&sources);
        write!(table, "\n          {dir:<22}  {:>6}  {:>9}", tally.sites, tally.noted)?;
        lacking.extend(tally.lacking);
    }
    if !lacking.is_empty() {
        bail!("{table}\n  {}", lacking.join("\n  "));
    }
    Ok(table)
}

/// Whether every root of a crate (library, program) forbids unsafe code: then the compiler has checked.
fn is_forbidden(sources: &[Source]) -> bool {
    let mut roots = sources.iter().filter(|source| is_root(&source.path)).peekable();
    roots.peek().is_some() && roots.all(|root| root.text.contains("#![forbid(unsafe_code)]"))
}

fn is_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs")
}

fn tally(sources: &[Source]) -> Tally {
    let mut tally = Tally::default();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        let sites: Vec<usize> = (0..lines.len()).filter(|index| is_site(lines[*index])).collect();
        tally.sites += sites.len();
        for site in &sites {
            if has_note(&lines, *site) {
                tally.noted += 1;
            } else {
                tally.lacking.push(format!("{}:{}: no SAFETY note", source.path, site + 1));
            }
        }
        if !sites.is_empty() && !is_explained(source, sources) {
            tally.lacking.push(format!("{}:1: its header does not say why it needs unsafe", source.path));
        }
    }
    tally
}

/// Whether a line opens an unsafe block or implementation. The word is looked for as code, not in strings.
fn is_site(line: &str) -> bool {
    let code = source::code_of(line);
    let mut rest = code;
    while let Some(at) = rest.find("unsafe") {
        let (before, after) = rest.split_at(at);
        let after = &after["unsafe".len()..];
        let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        let next = after.trim_start();
        if is_word && after.len() > next.len() && (next.starts_with('{') || next.starts_with("impl")) {
            return true;
        }
        rest = after;
    }
    false
}

/// Whether a note stands on the site's line, inside of its block, or directly before its statement.
fn has_note(lines: &[&str], site: usize) -> bool {
    let says = |line: &str| line.contains("SAFETY:");
    if says(lines[site]) || lines.get(site + 1).is_some_and(|line| source::is_comment(line) && says(line)) {
        return true;
    }
    let mut above = lines[..site].iter().rev().peekable();
    // The earlier lines of the same statement, and its attributes.
    while let Some(line) = above.next_if(|line| !source::is_comment(line)) {
        let code = line.trim_end();
        if code.is_empty() || (code.ends_with([';', '{', '}']) && !code.trim_start().starts_with('#')) {
            return false;
        }
    }
    above.take_while(|line| source::is_comment(line)).any(|line| says(line))
}

/// Whether the header of a file, or of a module above it other than the crate's root, speaks of unsafe code.
fn is_explained(source: &Source, all: &[Source]) -> bool {
    let stem = |path: &str| path.trim_end_matches("/mod.rs").trim_end_matches(".rs").to_string();
    let is_above = |other: &&Source| {
        !is_root(&other.path) && source.path.starts_with(&format!("{}/", stem(&other.path)))
    };
    std::iter::once(source).chain(all.iter().filter(is_above)).any(|source| header_explains(&source.text))
}

fn header_explains(text: &str) -> bool {
    let mut header = text.lines().take_while(|line| line.starts_with("//!"));
    header.any(|line| line.to_lowercase().contains("unsafe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unsafe_site_of_the_project_says_why_it_is_sound() {
        check().unwrap();
    }

    fn tally_of(text: &str) -> Tally {
        tally(&[Source { path: "x.rs".into(), text: text.into() }])
    }

    const HEADER: &str = "//! Unsafe, because.\n";

    #[test]
    fn a_note_before_the_statement_counts() {
        let tally =
            tally_of(&format!("{HEADER}// SAFETY: fine.\n// Really.\nlet x =\n    unsafe {{ f() }};\n"));
        assert_eq!(tally, Tally { sites: 1, noted: 1, lacking: vec![] });
    }

    #[test]
    fn a_note_of_another_statement_does_not() {
        let tally = tally_of(&format!("{HEADER}// SAFETY: fine.\nlet y = 1;\nunsafe {{ f() }};\n"));
        assert_eq!(tally.lacking, ["x.rs:4: no SAFETY note"]);
    }

    #[test]
    fn an_implementation_is_a_site_and_a_function_is_not() {
        assert!(is_site("unsafe impl Send for X {}"));
        assert!(is_site("    let x = unsafe { f() };"));
        for line in [
            "unsafe fn f() {",
            "#[unsafe(no_mangle)]",
            "// unsafe { }",
            "let s = \"unsafe {\";",
            "unsafe extern \"C\" {",
        ] {
            assert!(!is_site(line), "{line}");
        }
    }

    #[test]
    fn a_file_with_unsafe_code_says_why_in_its_header() {
        let tally = tally_of("//! A file.\n// SAFETY: fine.\nunsafe { f() }\n");
        assert_eq!(tally.lacking, ["x.rs:1: its header does not say why it needs unsafe"]);
    }

    #[test]
    fn a_module_above_may_say_why_but_the_crate_may_not() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let site = "// SAFETY: fine.\nunsafe { f() }\n";
        let above =
            |path: &str| tally(&[source(path, HEADER), source("c/src/room/x.rs", site)]).lacking.len();
        assert_eq!(above("c/src/room/mod.rs"), 0);
        assert_eq!(above("c/src/room.rs"), 0);
        assert_eq!(above("c/src/lib.rs"), 1);
        assert_eq!(above("c/src/roo.rs"), 1);
    }

    #[test]
    fn only_all_roots_together_forbid() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let lib = || source("c/src/lib.rs", "#![forbid(unsafe_code)]");
        assert!(is_forbidden(&[lib(), source("c/src/x.rs", "")]));
        assert!(!is_forbidden(&[lib(), source("c/src/main.rs", "")]));
        assert!(!is_forbidden(&[source("c/src/x.rs", "#![forbid(unsafe_code)]")]));
    }
}
