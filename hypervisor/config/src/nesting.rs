//! A bound on nesting, checked on tokens before the text is parsed.
//!
//! The parser limits brackets and the parts of a dotted key to 80 each, so that the two together nest thousands of
//! tables, which are freed by recursion: more stack than boot and the kernel have. No file needs more than three.

use crate::error::{ConfigError, Problem};
use crate::position::Lines;
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// The deepest nesting of brackets, and the most parts of a dotted key.
const MAX_DEPTH: usize = 8;

/// Checks that `text` nests no deeper than [`MAX_DEPTH`].
pub(crate) fn check(text: &str, lines: &Lines<'_>) -> Result<(), ConfigError> {
    let (mut brackets, mut dots) = (0_usize, 0_usize);
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                (brackets, dots) = (brackets + 1, 0)
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                (brackets, dots) = (brackets.saturating_sub(1), 0);
            }
            TokenKind::Dot => dots += 1,
            TokenKind::Comma | TokenKind::Equals | TokenKind::Newline => dots = 0,
            _ => {}
        }
        if brackets > MAX_DEPTH || dots >= MAX_DEPTH {
            return Err(ConfigError::file(lines.position(token.span().start()), Problem::TooDeep));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(text: &str) -> bool {
        check(text, &Lines::new(text)).is_err()
    }

    #[test]
    fn brackets_and_dots_are_counted_outside_strings_and_comments_only() {
        assert!(!is_refused("x = \"[[[[[[[[[[a.a.a.a.a.a.a.a.a.a\" # [[[[[[[[[[\ny = 1.5"));
        assert!(!is_refused("vm = [{ modules = [\"a\"] }, { modules = [\"b\"] }]"));
        assert!(is_refused("x = [[[[[[[[["));
        assert!(is_refused("a.b.c.d.e.f.g.h.i = 1"));
    }
}
