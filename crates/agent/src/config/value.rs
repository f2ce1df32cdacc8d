//! Values of a configuration with the place where they stand, and how each kind of them is read.
//!
//! Kinds are told apart as Go's decoder of kube-proxy tells them: a number is no text, a time-out without a unit none either.
//! What stands on a command line is text that may be any of them.
use ipnet::IpNet;
use jiff::SignedDuration;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use sheave_kube_source::address::{parse_cidr, parse_ip};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the file, counted from 1.
    Line(u64),
    /// On the command line, behind this option.
    Flag(&'static str),
}

/// A value and its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Located {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What may stand in YAML, and on a command line.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// From the command line: text, or any other kind as it is written.
    Word(String),
    List(Vec<Located>),
    Map(Vec<(String, Located)>),
}

/// A value cannot be used: its place, what it is and what is allowed.
pub(super) type Refusal = (Place, String);

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(deserializer)?;
        Ok(Self { place: Place::Line(referenced.line()), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Word(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a mapping"),
        }
    }
}

impl Located {
    /// What stands there is something else than `wanted`.
    pub(super) fn refuse(&self, wanted: impl fmt::Display) -> Refusal {
        (self.place, format!("{} is not {wanted}", self.value))
    }

    /// Whether a file says no more with it than that there is such a field; an option without text may mean something.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.trim().is_empty(),
            Value::List(list) => list.is_empty(),
            _ => false,
        }
    }

    /// Text without the white space around it; it may be empty.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => Ok(text.trim()),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Err(self.refuse("text; put it in quotes")),
            _ => Err(self.refuse("text")),
        }
    }

    /// Text, if there is any.
    pub(super) fn filled(&self) -> Result<Option<&str>, Refusal> {
        self.text().map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    pub(super) fn boolean(&self) -> Result<bool, Refusal> {
        match &self.value {
            Value::Bool(value) => Ok(*value),
            Value::Word(word) => word.parse().map_err(|_| self.refuse("true or false")),
            _ => Err(self.refuse("true or false")),
        }
    }

    /// An integer within a range.
    pub(super) fn integer<T>(&self, range: RangeInclusive<T>) -> Result<T, Refusal>
    where
        T: Copy + PartialOrd + fmt::Display + TryFrom<i128>,
    {
        let number = match &self.value {
            Value::Integer(value) => Some(*value),
            Value::Word(word) => word.trim().parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| self.refuse(format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// A time-out as Go writes it: `24h0m0s`, `1.5s`, `250ms`; not negative.
    pub(super) fn duration(&self) -> Result<Duration, Refusal> {
        let wanted = "a time such as 30s, 1h30m or 250ms, at least 0";
        let (Value::Text(text) | Value::Word(text)) = &self.value else { return Err(self.refuse(wanted)) };
        duration(text.trim()).ok_or_else(|| self.refuse(wanted))
    }

    /// `ADDRESS:PORT` or an address alone; `None` if there is no text.
    pub(super) fn socket(&self, default_port: u16) -> Result<Option<SocketAddr>, Refusal> {
        let Some(text) = self.filled()? else { return Ok(None) };
        match socket(text, default_port) {
            Some(socket) => Ok(Some(socket)),
            None => Err(self.refuse("ADDRESS:PORT, such as 0.0.0.0:10256 or [::]:10256")),
        }
    }

    /// The elements of a list, those of a word at its commas.
    pub(super) fn list(&self) -> Result<Vec<Self>, Refusal> {
        match &self.value {
            Value::List(list) => Ok(list.clone()),
            Value::Word(word) => {
                let words = word.split(',').map(str::trim).filter(|word| !word.is_empty());
                Ok(words.map(|word| Self { place: self.place, value: Value::Word(word.to_owned()) }).collect())
            }
            _ => Err(self.refuse("a list")),
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Refusal> {
        let text = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == text);
        let words = || {
            let words = choices.iter().map(|(word, _)| *word).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join(", ")
        };
        found.map(|(_, choice)| *choice).ok_or_else(|| self.refuse(format!("one of: {}", words())))
    }
}

/// Reads a CIDR out of a value that stands at a place.
pub(super) fn cidr(text: &str, place: Place) -> Result<IpNet, Refusal> {
    parse_cidr(text).map_err(|error| (place, error.to_string()))
}

/// Go's `time.ParseDuration` takes a 0 without a unit.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()
}

/// As `net.SplitHostPort`, after `AppendPortIfNeeded` (`pkg/proxy/util/utils.go`) has looked at it; ports as
/// `validateHostPort` wants them (`pkg/proxy/apis/config/validation`).
fn socket(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Ok(addr) = parse_ip(text) {
        return Some(SocketAddr::new(addr, default_port));
    }
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let addr = parse_ip(bare.unwrap_or(host)).ok()?;
    // Without brackets nobody could tell the port from the address's last group.
    let told_apart = bare.is_some() || !host.contains(':');
    let port: u16 = port.parse().ok()?;
    (told_apart && port > 0).then(|| SocketAddr::new(addr, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_go_reads_it() {
        let millis = Duration::from_millis;
        for (text, want) in [
            ("0", Some(Duration::ZERO)),
            ("0s", Some(Duration::ZERO)),
            ("24h0m0s", Some(millis(86_400_000))),
            ("1h30m", Some(millis(5_400_000))),
            ("1.5s", Some(millis(1500))),
            ("250ms", Some(millis(250))),
            ("500us", Some(Duration::from_micros(500))),
            ("5µs", Some(Duration::from_micros(5))),
            ("7", None),
            ("-1s", None),
            ("", None),
            ("soon", None),
            ("9999999999999999999999h", None),
        ] {
            assert_eq!(duration(text), want, "{text:?}");
        }
    }

    #[test]
    fn an_address_to_listen_at_may_leave_out_its_port_and_never_its_brackets() {
        for (text, want) in [
            ("0.0.0.0:10256", Some("0.0.0.0:10256")),
            ("127.0.0.1", Some("127.0.0.1:7")),
            ("127.0.0.01:1", Some("127.0.0.1:1")),
            ("::", Some("[::]:7")),
            ("[::1]:80", Some("[::1]:80")),
            // As Go's parser, which finds an address in all of it.
            ("::1:80", Some("[::1:80]:7")),
            ("fd00:1:2:3:4:5:6:7:80", None),
            ("[10.0.0.1]:80", Some("10.0.0.1:80")),
            (":10256", None),
            ("localhost:10256", None),
            ("0.0.0.0:0", None),
            ("0.0.0.0:65536", None),
            ("0.0.0.0:http", None),
        ] {
            assert_eq!(socket(text, 7), want.map(|want| want.parse().unwrap()), "{text:?}");
        }
    }
}
