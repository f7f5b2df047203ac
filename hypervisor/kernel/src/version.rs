//! Which build this is.

/// The version, as the workspace has it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The build: a commit, with `-dirty` when the work tree had changes. Set by `xtask`.
pub const BUILD_ID: &str = match option_env!("COFFERDAM_BUILD_ID") {
    Some(id) => id,
    None => "unknown build",
};
