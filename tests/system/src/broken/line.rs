//! Promised lines: texts in which `*` stands for anything, such as a number that differs from build to build.

use anyhow::{Result, ensure};

/// Whether `line`, without its end, is what was promised.
pub fn check(promise: &str, line: &str) -> Result<()> {
    let line = line.trim_end();
    ensure!(matches(promise, line), "promised was: {promise}\n    it said:      {line}");
    Ok(())
}

/// Whether the whole of `line` is `pattern`.
fn matches(pattern: &str, line: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_any_text_and_all_else_is_itself() {
        for line in ["a 1 b", "a  b", "a 1 b 2 b"] {
            assert!(matches("a * b", line), "{line}");
        }
        for line in ["a b", "a 1 b.", "xa 1 b", ""] {
            assert!(!matches("a * b", line), "{line}");
        }
        assert!(matches("", "") && matches("*", "") && !matches("", "x"));
    }
}
