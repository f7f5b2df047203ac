//! Source files as text: found by crate, split into code and comments.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths;

/// A Rust file of the workspace.
pub struct Source {
    /// Its path relative to the workspace.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// All Rust files below the `src` of the crate in the folder `dir` (relative to the workspace), sorted.
pub fn of_crate(dir: &str) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    collect(&paths::workspace().join(dir).join("src"), &mut files)?;
    files.sort();
    files.into_iter().map(|file| read(&file)).collect()
}

/// Folders of the crates directly below `dir`, relative to the workspace, sorted.
pub fn crates_below(dir: &str) -> Result<Vec<String>> {
    let folder = paths::workspace().join(dir);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(format!("{dir}/{}", entry.file_name().to_string_lossy()));
        }
    }
    names.sort();
    Ok(names)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Source> {
    let text = String::from_utf8(paths::read(file)?).with_context(|| file.display().to_string())?;
    let path = file.strip_prefix(paths::workspace()).unwrap_or(file).display().to_string();
    Ok(Source { path, text })
}

/// The part of a line before its comment. A `//` inside of a string literal counts as one only in that the
/// check sees less; no code of ours hides there.
pub fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether a line is nothing but a comment or an attribute.
pub fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}
