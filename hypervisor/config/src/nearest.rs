//! "Did you mean": the word of a list that is nearest to a misspelt one.

use alloc::vec::Vec;

/// The most single-character edits between a word and its suggestion.
const MAX_EDITS: usize = 2;

/// Words longer than this get no suggestion: the distance costs the product of the lengths.
const MAX_WORD_BYTES: usize = 32;

/// The candidate nearest to `word`, if any is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let near = |c: &&'a str| (edits(word, c), *c);
    let (distance, best) = candidates.iter().map(near).min()?;
    (distance <= MAX_EDITS && distance < best.len()).then_some(best)
}

/// The Levenshtein distance: insertions, deletions and replacements of one character.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, cb) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(!ca.eq_ignore_ascii_case(&cb));
            diagonal = *slot;
            left = replaced.min(diagonal + 1).min(left + 1);
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_foreign_one_none() {
        let keys = ["name", "memory", "kernel"];
        assert_eq!(nearest("memry", &keys), Some("memory"));
        assert_eq!(nearest("Kernal", &keys), Some("kernel"));
        assert_eq!(nearest("colour", &keys), None);
        assert_eq!(nearest("", &keys), None);
        assert_eq!(nearest(&"m".repeat(1000), &keys), None);
    }
}
