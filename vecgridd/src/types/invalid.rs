//! Why an input was refused.

/// An input that breaks the contract: nothing was stored, the same input will fail again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Stable code, part of the public contract (`invalid_vector`, `invalid_filter`, …).
    pub code: &'static str,
    /// Which part of the request, as a JSON-pointer-like path; empty for the whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Invalid {
    /// A refusal with its stable code, the field it concerns and a sentence for a person.
    pub fn new(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into() }
    }

    /// The same refusal, seen from outside: `field` is put in front of the path.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        self.field = if self.field.is_empty() { field.to_owned() } else { format!("{field}/{}", self.field) };
        self
    }
}
