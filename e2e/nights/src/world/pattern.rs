//! The few regular expressions that overlays carry: literals, `[classes]`, `{m,n}`, `*`, `+`, anchored at both ends. A crate for them would change the
//! features of what others in this workspace build.

/// Whether the whole of `text` matches `pattern`, which must begin with `^` and end with `$`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let inner = pattern.strip_prefix('^').and_then(|p| p.strip_suffix('$'));
    inner.is_some_and(|p| !p.is_empty() && here(p.as_bytes(), text.as_bytes()))
}

enum Atom<'a> {
    Byte(u8),
    Class(&'a [u8]),
}

impl Atom<'_> {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Class(class) => {
                let mut class = *class;
                while let [first, rest @ ..] = class {
                    match rest {
                        [b'-', last, rest @ ..] if (*first..=*last).contains(&byte) || rest.is_empty() && byte == *last => return true,
                        [b'-', _, rest @ ..] => class = rest,
                        _ if *first == byte => return true,
                        _ => class = rest,
                    }
                }
                false
            }
        }
    }
}

fn here(pattern: &[u8], text: &[u8]) -> bool {
    let Some((atom, rest)) = atom(pattern) else { return text.is_empty() };
    let (least, most, rest) = times(rest);
    let fit = text.iter().take(most).take_while(|b| atom.takes(**b)).count();
    (least..=fit).rev().any(|n| here(rest, &text[n..]))
}

fn atom(pattern: &[u8]) -> Option<(Atom<'_>, &[u8])> {
    match pattern {
        [] => None,
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|b| *b == b']').unwrap_or(rest.len());
            Some((Atom::Class(&rest[..end]), rest.get(end + 1..).unwrap_or_default()))
        }
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => Some((Atom::Byte(*byte), rest)),
    }
}

/// How often the atom before may occur, and what follows.
fn times(rest: &[u8]) -> (usize, usize, &[u8]) {
    match rest {
        [b'*', rest @ ..] => (0, usize::MAX, rest),
        [b'+', rest @ ..] => (1, usize::MAX, rest),
        [b'{', tail @ ..] => {
            let end = tail.iter().position(|b| *b == b'}').unwrap_or(tail.len());
            let text = std::str::from_utf8(&tail[..end]).unwrap_or_default();
            let (low, high) = text.split_once(',').unwrap_or((text, text));
            (low.parse().unwrap_or(0), high.parse().unwrap_or(usize::MAX), tail.get(end + 1..).unwrap_or_default())
        }
        _ => (1, 1, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_what_overlays_carry() {
        for (pattern, text, hit) in [
            ("^seat-map-[a-z0-9]{1,10}$", "seat-map-7c9d5b6f84", true),
            ("^seat-map-[a-z0-9]{1,10}$", "seat-map-7c9d5b6f84x", false),
            ("^seat-map-[a-z0-9]{1,10}$", "seat-map-canary-7c9d5b", false),
            ("^seat-map-[a-z0-9]{1,10}-[a-z0-9]{5}$", "seat-map-7c9d5b6f84-x2k4p", true),
            ("^seat[.]map$", "seat.map", true),
            ("^seat[.]map$", "seatxmap", false),
            ("^queue-[0-9]+$", "queue-12", true),
            ("^queue-[0-9]+$", "queue-", false),
            ("^long[a-z0-9-]*[a-z0-9]{5}$", "long-name-x2k4p", true),
            ("seat", "seat", false),
            ("^$", "", false),
        ] {
            assert_eq!(matches(pattern, text), hit, "{pattern} {text}");
        }
    }
}
