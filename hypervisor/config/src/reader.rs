//! Typed access to one table of the document: every value comes with its place, every mistake becomes an error there.

use crate::error::{ConfigError, Problem, Subject, Type};
use crate::nearest::nearest;
use crate::position::{Lines, Located, Position};
use alloc::{string::String, vec::Vec};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// How much of the operator's text an error repeats, in characters.
const EXCERPT_CHARS: usize = 64;

/// The beginning of `text`, short enough for a message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

/// The value of `integer`, or `None` when it does not fit 64 bits.
pub(crate) fn integer_value(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The type of `value`.
pub(crate) fn type_of(value: &DeValue<'_>) -> Type {
    match value {
        DeValue::String(_) => Type::String,
        DeValue::Integer(_) => Type::Integer,
        DeValue::Float(_) => Type::Float,
        DeValue::Boolean(_) => Type::Boolean,
        DeValue::Datetime(_) => Type::Datetime,
        DeValue::Array(_) => Type::Array,
        DeValue::Table(_) => Type::Table,
    }
}

/// One table of the document.
pub(crate) struct Table<'a> {
    /// The keys and values.
    pub(crate) entries: &'a DeTable<'a>,
    /// What the table is about.
    pub(crate) subject: Subject,
    /// Where it begins.
    pub(crate) position: Position,
    /// The text's lines.
    pub(crate) lines: &'a Lines<'a>,
}

impl<'a> Table<'a> {
    /// An error about `key` at `position`.
    pub(crate) fn error(&self, key: &'static str, position: Position, problem: Problem) -> ConfigError {
        ConfigError { position, subject: self.subject, key: Some(key), problem }
    }

    /// Refuses the first key, in the order of the text, that is none of `known`.
    pub(crate) fn refuse_unknown_keys(&self, known: &[&'static str]) -> Result<(), ConfigError> {
        let unknown = self.entries.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let (position, word) = (self.lines.position(key.span().start), key.get_ref());
        let problem = Problem::UnknownKey { key: excerpt(word), nearest: nearest(word, known) };
        Err(ConfigError { position, subject: self.subject, key: None, problem })
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get(&self, key: &'static str) -> Option<Located<&'a DeValue<'a>>> {
        self.entries.get(key).map(|value| self.locate(value))
    }

    /// A value of this table's text, with its place.
    pub(crate) fn locate(&self, value: &'a Spanned<DeValue<'a>>) -> Located<&'a DeValue<'a>> {
        Located { value: value.get_ref(), position: self.lines.position(value.span().start) }
    }

    /// The error for a `value` of `key` that has the wrong type.
    pub(crate) fn wrong_type(
        &self,
        key: &'static str,
        value: &Located<&DeValue<'_>>,
        expected: &'static str,
    ) -> ConfigError {
        self.error(key, value.position, Problem::WrongType { found: type_of(value.value), expected })
    }

    /// The text of `key`, if the key is there; `expected` says what to write instead of another type.
    pub(crate) fn string(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<Located<&'a str>>, ConfigError> {
        self.get(key).map(|value| self.as_string(key, &value, expected)).transpose()
    }

    /// The text of `key`, which has to be there.
    pub(crate) fn required_string(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Located<&'a str>, ConfigError> {
        self.string(key, expected)?.ok_or_else(|| self.error(key, self.position, Problem::Missing))
    }

    /// `value`, of `key`, as text.
    pub(crate) fn as_string(
        &self,
        key: &'static str,
        value: &Located<&'a DeValue<'a>>,
        expected: &'static str,
    ) -> Result<Located<&'a str>, ConfigError> {
        match value.value {
            DeValue::String(text) => Ok(Located { value: text.as_ref(), position: value.position }),
            _ => Err(self.wrong_type(key, value, expected)),
        }
    }

    /// The truth value of `key`, or `default` without one.
    pub(crate) fn boolean(&self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(Located { value: DeValue::Boolean(value), .. }) => Ok(*value),
            Some(value) => Err(self.wrong_type(key, &value, "true or false")),
        }
    }

    /// The tables of `key` in the order of the text, none without it; `expected` says how such a table is written. More
    /// than `max` are too many `what`.
    pub(crate) fn tables(
        &self,
        key: &'static str,
        expected: &'static str,
        max: usize,
        what: &'static str,
    ) -> Result<Vec<Located<&'a DeTable<'a>>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(elements) = value.value else {
            return Err(self.wrong_type(key, &value, expected));
        };
        let mut tables = Vec::new();
        for element in elements.iter() {
            let element = self.locate(element);
            let DeValue::Table(entries) = element.value else {
                return Err(self.wrong_type(key, &element, expected));
            };
            if tables.len() >= max {
                return Err(self.error(key, element.position, Problem::TooMany { what, max }));
            }
            tables.push(Located { value: entries, position: element.position });
        }
        Ok(tables)
    }

    /// The values in the array of `key`, none without it.
    pub(crate) fn array(
        &self,
        key: &'static str,
        expected: &'static str,
        max: usize,
        what: &'static str,
    ) -> Result<Vec<Located<&'a DeValue<'a>>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(elements) = value.value else {
            return Err(self.wrong_type(key, &value, expected));
        };
        if elements.len() > max {
            return Err(self.error(key, value.position, Problem::TooMany { what, max }));
        }
        Ok(elements.iter().map(|element| self.locate(element)).collect())
    }

    /// The meaning of the word that `key` has, or `default` without one. `allowed` lists the words as one text.
    pub(crate) fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&str, T)],
        allowed: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        let Some(word) = self.string(key, allowed)? else {
            return Ok(default);
        };
        let meaning = words.iter().find(|(text, _)| *text == word.value).map(|(_, meaning)| *meaning);
        let unknown = || Problem::UnknownWord { word: excerpt(word.value), allowed };
        meaning.ok_or_else(|| self.error(key, word.position, unknown()))
    }
}
