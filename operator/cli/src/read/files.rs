//! What `-f` names: files, folders, and `-` for standard input.

use std::{fs, io::Read, path::Path};

use super::Mistake;

/// One file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As it is named in messages.
    pub name: String,
    /// Content.
    pub text: String,
}

/// Endings that are read from folders, as kubectl does.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// More than any cluster's manifests; what is larger was named by mistake.
const LARGEST: u64 = 256 << 20;

/// Reads everything that is named, in order; folders by name, and with `recursive` their folders too.
pub fn inputs(names: &[String], recursive: bool, stdin: &mut dyn Read) -> (Vec<Input>, Vec<Mistake>) {
    let mut reader = Reader { recursive, inputs: Vec::new(), mistakes: Vec::new() };
    let mut stdin = Some(stdin);
    for name in names {
        match name.as_str() {
            "-" => match stdin.take() {
                Some(stdin) => {
                    let mut bytes = Vec::new();
                    let result = stdin.take(LARGEST).read_to_end(&mut bytes).map(|_| bytes);
                    reader.text(name, result);
                }
                None => reader.mistakes.push(Mistake::of_file("-", "standard input can be read only once: name it once")),
            },
            name => reader.path(name, true),
        }
    }
    (reader.inputs, reader.mistakes)
}

struct Reader {
    recursive: bool,
    inputs: Vec<Input>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn path(&mut self, name: &str, named: bool) {
        let path = Path::new(name);
        match fs::metadata(path) {
            Err(error) => self.mistakes.push(Mistake::of_file(name, format!("cannot be read: {error}"))),
            Ok(meta) if meta.is_dir() && (named || self.recursive) => self.folder(name, named),
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if meta.len() > LARGEST => self.mistakes.push(Mistake::of_file(name, "is larger than 256 MiB: no manifest is")),
            Ok(_) => self.text(name, fs::read(path)),
        }
    }

    fn folder(&mut self, name: &str, named: bool) {
        let entries = match fs::read_dir(name) {
            Ok(entries) => entries,
            Err(error) => return self.mistakes.push(Mistake::of_file(name, format!("cannot be read: {error}"))),
        };
        let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
        paths.sort();
        let before = self.inputs.len() + self.mistakes.len();
        for path in paths {
            let manifest = path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e));
            if manifest || path.is_dir() {
                self.path(&path.to_string_lossy(), false);
            }
        }
        if named && self.inputs.len() + self.mistakes.len() == before {
            self.mistakes
                .push(Mistake::of_file(name, "no file in this folder ends in .yaml, .yml or .json; -R looks into its folders too"));
        }
    }

    fn text(&mut self, name: &str, bytes: std::io::Result<Vec<u8>>) {
        match bytes.map(String::from_utf8) {
            Ok(Ok(text)) => self.inputs.push(Input { name: name.to_owned(), text }),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
                let message = "is not text in UTF-8 here: save it as UTF-8";
                self.mistakes.push(Mistake { line: Some(line), ..Mistake::of_file(name, message) });
            }
            Err(error) => self.mistakes.push(Mistake::of_file(name, format!("cannot be read: {error}"))),
        }
    }
}
