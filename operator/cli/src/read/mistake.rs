//! A mistake in what was given to us: where, in which object and field, what, and what to write instead.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// File as it was named; `-` is standard input.
    pub file: String,
    /// Line, from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// Document in the file, from 1.
    pub document: Option<usize>,
    /// Kind and name, as far as they are known.
    pub object: Option<String>,
    /// Field, as a path.
    pub field: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Mistake {
    /// A mistake of a file as a whole.
    #[must_use]
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, document: None, object: None, field: None, message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        match (&self.object, self.document) {
            (Some(object), Some(document)) => write!(f, "{object} (document {document}): ")?,
            (None, Some(document)) => write!(f, "document {document}: ")?,
            (Some(object), None) => write!(f, "{object}: ")?,
            (None, None) => {}
        }
        if let Some(field) = self.field.as_ref().filter(|field| !field.is_empty()) {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}
