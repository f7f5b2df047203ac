//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the checkout.
#[must_use]
pub fn workspace() -> &'static Path {
    // This crate stands directly below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The build folder: `CARGO_TARGET_DIR`, else `target` in the checkout.
#[must_use]
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// A build folder of its own for builds whose flags or compiler differ, so that they do not undo each other.
#[must_use]
pub fn lane(name: &str) -> PathBuf {
    target().join(name)
}

/// Where downloads are kept between checkouts: `COFFERDAM_CACHE`, else `cofferdam` in the XDG cache folder.
///
/// # Errors
/// When there is neither, or the folder cannot be made.
pub fn cache() -> Result<PathBuf> {
    let dir = match std::env::var_os("COFFERDAM_CACHE") {
        Some(dir) => std::path::absolute(dir)?,
        None => directories::BaseDirs::new()
            .context("no home folder: set COFFERDAM_CACHE to a folder for downloads")?
            .cache_dir()
            .join("cofferdam"),
    };
    make_folder(&dir)?;
    Ok(dir)
}

/// Makes `dir` and its parents unless they exist.
///
/// # Errors
/// Names the folder.
pub fn make_folder(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))
}

/// Reads a whole file.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a whole file so that nobody sees half of it: under another name first, then renamed.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, contents)?;
        set_ordinary_mode(file.as_file())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Temporary files are private to their owner; what stays is readable for all.
fn set_ordinary_mode(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

/// Finds a program as the shell would.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_the_folder_with_the_lock_file() {
        assert!(workspace().join("Cargo.lock").is_file());
    }

    #[test]
    fn a_written_file_is_readable_for_all() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/file");
        write(&file, b"text").unwrap();
        assert_eq!(read(&file).unwrap(), b"text");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
