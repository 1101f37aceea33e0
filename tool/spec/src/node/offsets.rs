//! From characters, which the parser counts, to bytes, which a span counts.

use super::offset;

/// Byte offsets of a text's characters.
pub(super) struct Offsets<'a> {
    text: &'a str,
    /// Byte offset of every [`Self::STEP`]th character; empty for a text of ASCII.
    steps: Vec<u32>,
}

impl<'a> Offsets<'a> {
    const STEP: usize = 64;

    pub(super) fn new(text: &'a str) -> Self {
        let steps = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().step_by(Self::STEP).map(|(byte, _)| offset(byte)).collect()
        };
        Self { text, steps }
    }

    /// The byte that a character starts at; the text's length behind its end.
    pub(super) fn byte(&self, character: usize) -> usize {
        if self.steps.is_empty() {
            return character.min(self.text.len());
        }
        let Some(step) = self.steps.get(character / Self::STEP) else { return self.text.len() };
        let from = *step as usize;
        let rest = self.text[from..].char_indices().nth(character % Self::STEP);
        rest.map_or(self.text.len(), |(byte, _)| from + byte)
    }
}
