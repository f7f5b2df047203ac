//! Other programs, run so that a failure says which command failed and what it said.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::Step;

/// The command as a person would type it.
#[must_use]
pub fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| quote(&arg.to_string_lossy())));
    words.join(" ")
}

/// `word` so that a shell takes it as one.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs `command` quietly while showing that `what` is being done; what it said is shown only when it fails.
///
/// # Errors
/// When it cannot be started or exits other than with 0.
pub fn quiet(what: &str, command: &mut Command) -> Result<()> {
    output(what, command).map(drop)
}

/// Like [`quiet`], and returns its standard output.
///
/// # Errors
/// As for [`quiet`], or when the output is no UTF-8.
pub fn output(what: &str, command: &mut Command) -> Result<String> {
    let step = Step::start(what);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{what}: cannot start `{}`", words(command)))?;
    drop(step);
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{what}: `{}` ended with {}\n{}",
            words(command),
            output.status,
            String::from_utf8_lossy(&said)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{what}: `{}` printed no text", words(command)))
}

/// Runs `command` with our own standard streams: for programs that show progress themselves.
///
/// # Errors
/// When it cannot be started or exits other than with 0.
pub fn shown(what: &str, command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{what}: cannot start `{}`", words(command)))?;
    if !status.success() {
        bail!("{what} failed: `{}` ended with {status}", words(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printed_as_one_would_type_it() {
        let mut command = Command::new("apt-get");
        command.args(["install", "a b", "it's"]);
        assert_eq!(words(&command), r"apt-get install 'a b' 'it'\''s'");
    }

    #[test]
    fn a_failure_shows_the_command_and_what_it_said() {
        let error = quiet("trying", Command::new("sh").args(["-c", "echo sorry >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sorry") && text.contains("trying"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = quiet("trying", &mut Command::new("/does/not/exist")).unwrap_err();
        assert!(format!("{error:#}").contains("/does/not/exist"));
    }
}
