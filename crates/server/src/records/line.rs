//! One line of a log: a time, a word, and fields, for people or for programs.
//!
//! Whatever somebody else chose, such as names, stands in it escaped and shortened, in both formats.

use std::fmt::{Display, Write};

use jiff::Zoned;
use serde_json::{Map, Value};
use towline_proto::escape::{EscapedJson, is_hidden};

use super::event::Event;
use super::request::{RequestRecord, face_name};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `TIME WORD key=value …`, for people.
    #[default]
    Text,
    /// One JSON object, for programs.
    Json,
}

/// Bytes of a text at most; what is longer ends in an ellipsis.
const TEXT_BYTES_MAX: usize = 1_024;

/// A line that is being put together. Its first two fields are the time and the word.
pub(super) struct Line(Map<String, Value>);

impl Line {
    fn new(word: &str) -> Self {
        let time = Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
        let first = [("time".into(), time.into()), ("event".into(), word.into())];
        Self(first.into_iter().collect())
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    /// A field that shows text of somebody else's.
    fn with_text(self, key: &str, text: impl Display) -> Self {
        self.with(key, shortened(text.to_string()))
    }

    fn with_option(self, key: &str, text: Option<impl Display>) -> Self {
        match text {
            Some(text) => self.with_text(key, text),
            None => self,
        }
    }

    /// A request that is over.
    pub(super) fn request(record: &RequestRecord<'_>) -> Self {
        let asked = record.asked;
        let line = Self::new(asked.operation.as_str())
            .with("peer", record.peer.to_string())
            .with_text("who", record.principal.as_deref().unwrap_or("revoked"))
            .with("face", face_name(asked.face))
            .with("encrypted", record.is_encrypted)
            .with_option("name", asked.name.as_ref());
        let line = match asked.files {
            Some(files) => line.with("files", files),
            None => line,
        };
        line.with("outcome", record.outcome.as_str())
            .with("sent_bytes", record.sent)
            .with("seconds", milliseconds(record.took.as_secs_f64()))
    }

    /// An entry of the audit record.
    pub(super) fn event(event: &Event<'_>) -> Self {
        match event {
            Event::Started => Self::new("start"),
            Event::Ended => Self::new("end"),
            Event::Login { peer, who, by, refused } => Self::new("log-in")
                .with("peer", peer.to_string())
                .with_text("who", who)
                .with("by", by.as_str())
                .with("outcome", if refused.is_none() { "let-in" } else { "refused" })
                .with_option("reason", *refused),
            Event::Denied { peer, who, action, name, others } => {
                let line = Self::new("denial")
                    .with("peer", peer.to_string())
                    .with_text("who", who)
                    .with("action", action.name())
                    .with_option("name", *name);
                if *others > 0 { line.with("others", *others) } else { line }
            }
            Event::Credentials { change } => Self::new("credentials").with_text("change", change),
            Event::Reload { what, refused } => Self::new("reload")
                .with("what", *what)
                .with("outcome", if refused.is_none() { "done" } else { "refused" })
                .with_option("reason", *refused),
        }
    }

    /// That lines before this one are missing.
    pub(super) fn dropped(count: u64) -> Self {
        Self::new("lines-dropped").with("count", count)
    }

    /// The line's text, with its end.
    pub(super) fn format(&self, format: Format) -> String {
        let mut line = match format {
            Format::Json => {
                let json = serde_json::to_string(&self.0).unwrap_or_default();
                EscapedJson(&json).to_string()
            }
            Format::Text => self.text(),
        };
        line.push('\n');
        line
    }

    fn text(&self) -> String {
        let mut line = String::new();
        for (place, (key, value)) in self.0.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = match (place, value) {
                (0, Value::String(time)) => write!(line, "{time}"),
                (1, Value::String(word)) => write!(line, " {word}"),
                (_, Value::String(text)) => write!(line, " {key}={}", quoted(text)),
                (_, value) => write!(line, " {key}={value}"),
            };
        }
        line
    }
}

/// A text as one word, on one line.
fn quoted(text: &str) -> String {
    let is_plain =
        |character: char| character.is_alphanumeric() || "._-+:/[]@%~,".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut word = String::from('"');
    for character in text.chars() {
        match character {
            '"' => word.push_str("\\\""),
            hidden if is_hidden(hidden) => word.extend(hidden.escape_unicode()),
            visible => word.push(visible),
        }
    }
    word.push('"');
    word
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towline_proto::name::RemoteName;

    use super::*;
    use crate::records::request::{Asked, Outcome};

    fn record(name: &[u8], format: Format) -> String {
        let asked = Asked::classic(RemoteName::parse(name).ok());
        let record = RequestRecord {
            asked: &asked,
            peer: ([192, 0, 2, 1], 5_000).into(),
            is_encrypted: false,
            principal: Some("anonymous".into()),
            outcome: Outcome::Done,
            sent: 7,
            took: Duration::from_micros(1_234_567),
        };
        Line::request(&record).format(format)
    }

    #[test]
    fn a_request_is_one_line_whatever_its_name() {
        let line = record(b"photos/a.jpg", Format::Text);
        let (_, fields) = line.split_once(' ').unwrap();
        assert_eq!(
            fields,
            "fetch peer=192.0.2.1:5000 who=anonymous face=classic encrypted=false \
             name=photos/a.jpg outcome=done sent_bytes=7 seconds=1.235\n"
        );
        for name in [&b"a b\"\nc"[..], b"\x1b[31m", b"\xff", "\u{202e}x".as_bytes()] {
            for format in [Format::Text, Format::Json] {
                let line = record(name, format);
                assert_eq!(line.matches('\n').count(), 1, "{line}");
                assert!(line.trim_end().chars().all(|character| !character.is_control()));
                assert!(!line.contains('\u{202e}'), "{line}");
            }
        }
        assert!(record(b"a b\"\nc", Format::Text).contains(r#" name="a b\"\nc" "#));
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let said = "one\ntwo\x1b[31m \x7f \u{9b}31m \u{202e}\u{2066}\u{e0041} \"";
        let event = Event::Reload { what: "configuration", refused: Some(said) };
        for format in [Format::Text, Format::Json] {
            let line = Line::event(&event).format(format);
            assert_eq!(line.matches(is_hidden).count(), 1, "{line}");
        }
        let text = Line::event(&event).format(Format::Text);
        let escaped = r#""one\u{a}two\u{1b}[31m \u{7f} \u{9b}31m \u{202e}\u{2066}\u{e0041} \"""#;
        assert!(text.contains(escaped), "{text}");
        let json = Line::event(&event).format(Format::Json);
        let escaped = r"one\ntwo\u001b[31m \u007f \u009b31m \u202e\u2066\udb40\udc41 ";
        assert!(json.contains(escaped), "{json}");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["reason"], said);
    }

    #[test]
    fn a_program_reads_what_a_person_does() {
        let line: Value = serde_json::from_str(&record(b"a b", Format::Json)).unwrap();
        assert_eq!(line["event"], "fetch");
        assert_eq!(line["name"], "a b");
        assert_eq!(line["sent_bytes"], 7);
        assert_eq!(line["seconds"], 1.235);
    }

    #[test]
    fn a_name_as_long_as_can_be_makes_no_long_line() {
        let name = [&b"\x01"[..]; 20].concat().repeat(10);
        let name = [&name[..]; 19].join(&b'/');
        let line = record(&name, Format::Text);
        assert!(line.len() < TEXT_BYTES_MAX + 300, "{}", line.len());
        assert!(line.contains('…'));
    }
}
