//! Text from elsewhere, made safe to print in terminals and logs.

use std::fmt::{self, Write};
use std::path::Path;

/// Bytes that somebody else chose, shown so that they can neither move a cursor, start a line, nor
/// reorder what stands around them.
///
/// Valid, visible UTF-8 stays as it is. Control characters, line separators and the invisible
/// formatting characters of bidirectional text become `\u{…}` (`\n`, `\r`, `\t` for the common ones),
/// bytes that are not UTF-8 become `\xNN`, and a backslash is doubled, so that the result is unambiguous.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' | '\n' | '\r' | '\t' => write!(f, "{}", character.escape_default())?,
                    _ if is_hidden(character) => write!(f, "{}", character.escape_unicode())?,
                    _ => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A path, shown as [`Escaped`] shows bytes: a server may have chosen the names in it.
#[derive(Clone, Copy, Debug)]
pub struct EscapedPath<'a>(pub &'a Path);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.0.as_os_str().as_encoded_bytes()).fmt(f)
    }
}

/// Text in JSON, on one line, whose hidden characters are escaped and mean the same.
#[derive(Clone, Copy, Debug)]
pub struct EscapedJson<'a>(pub &'a str);

impl fmt::Display for EscapedJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Outside of strings, where there is nothing to escape, it has nothing but visible ASCII.
        for character in self.0.chars() {
            if !is_hidden(character) {
                f.write_char(character)?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Whether a character acts on a terminal or on its neighbours instead of being seen.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Escaped, EscapedJson, EscapedPath};

    fn escaped(bytes: &[u8]) -> String {
        Escaped(bytes).to_string()
    }

    #[test]
    fn visible_text_stays_as_it_is() {
        assert_eq!(escaped("Müller – 写真.jpg".as_bytes()), "Müller – 写真.jpg");
    }

    #[test]
    fn escape_sequences_and_line_breaks_are_defused() {
        assert_eq!(escaped(b"\x1b[2Ja\nb\r\tc"), "\\u{1b}[2Ja\\nb\\r\\tc");
        assert_eq!(escaped("a\u{202E}b\u{9b}c\u{2028}".as_bytes()), "a\\u{202e}b\\u{9b}c\\u{2028}");
    }

    #[test]
    fn json_stays_json_and_says_the_same_without_hidden_characters() {
        let json = "{\"name\":\"\u{7f}\u{9b}2J \u{202e}é\u{e0041}\\n\"}";
        let escaped = r#"{"name":"\u007f\u009b2J \u202eé\udb40\udc41\n"}"#;
        assert_eq!(EscapedJson(json).to_string(), escaped);
    }

    #[test]
    fn paths_are_defused_as_names_are() {
        let path = Path::new("downloads/\u{1b}]0;x\u{7}\u{202E}.bin");
        assert_eq!(EscapedPath(path).to_string(), "downloads/\\u{1b}]0;x\\u{7}\\u{202e}.bin");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_in_hex_unambiguously() {
        assert_eq!(escaped(b"a\xffb\\xff"), "a\\xffb\\\\xff");
    }
}
