//! Walks a document field by field; what cannot be used becomes a diagnostic with the field's path.
use crate::raw::Raw;
use sheave_core::{Diagnostic, ObjectRef, Port, Problem};
use std::fmt::{self, Display};

/// Diagnostics kept per object (I7). An EndpointSlice has up to 1,000 endpoints, and the first few say what is wrong.
const FINDINGS_MAX: usize = 16;

/// What is wrong with one object.
#[derive(Debug)]
pub(crate) struct Findings {
    object: ObjectRef,
    found: Vec<Diagnostic>,
    more: usize,
}

impl Findings {
    pub(crate) fn of(object: ObjectRef) -> Self {
        Self { object, found: Vec::new(), more: 0 }
    }

    pub(crate) fn add(&mut self, field: &Field<'_>, problem: Problem, message: impl Display) {
        if self.found.len() == FINDINGS_MAX {
            self.more += 1;
            return;
        }
        let (object, field, message) = (self.object.clone(), field.to_string(), message.to_string());
        self.found.push(Diagnostic { object, field, problem, message, origin: None });
    }

    pub(crate) fn invalid(&mut self, field: &Field<'_>, message: impl Display) {
        self.add(field, Problem::Invalid, message);
    }

    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        if let (Some(last), true) = (self.found.last_mut(), self.more > 0) {
            last.message = format!("{} (and {} more findings in this object)", last.message, self.more);
        }
        self.found
    }
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Name(&'a str),
    /// A label or annotation, whose name has dots of its own.
    Key(&'a str),
    Index(usize),
}

/// A value in a document, and the way to it. A missing field is `null`, as in the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    value: &'a Raw<'a>,
    parent: Option<&'a Field<'a>>,
    step: Step<'a>,
}

impl<'a> Field<'a> {
    pub(crate) fn root(value: &'a Raw<'a>) -> Self {
        Self { value, parent: None, step: Step::Root }
    }

    fn child<'b>(&'b self, value: Option<&'b Raw<'b>>, step: Step<'b>) -> Field<'b> {
        Field { value: value.unwrap_or(&Raw::Null), parent: Some(self), step }
    }

    pub(crate) fn get<'b>(&'b self, name: &'b str) -> Field<'b> {
        self.child(self.value.get(name), Step::Name(name))
    }

    pub(crate) fn key<'b>(&'b self, key: &'b str) -> Field<'b> {
        self.child(self.value.get(key), Step::Key(key))
    }

    /// The value, as messages show it.
    pub(crate) fn shown(&self) -> Shown<'a> {
        Shown(self.value)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// Missing, or the zero that stands for it in the API.
    pub(crate) fn is_unset(&self) -> bool {
        self.is_null() || self.value.as_number() == Some(0)
    }

    /// Missing, or a list without elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_null() || self.value.as_list().is_some_and(<[_]>::is_empty)
    }

    pub(crate) fn is_text(&self, text: &str) -> bool {
        self.value.as_text() == Some(text)
    }

    /// Missing, or a text of white space alone.
    pub(crate) fn is_blank(&self) -> bool {
        self.is_null() || self.value.as_text().is_some_and(|text| text.trim().is_empty())
    }

    pub(crate) fn is_map(&self) -> bool {
        self.value.is_map()
    }

    /// Itself; a finding when it is there and no map, so that its fields are not looked for in vain.
    pub(crate) fn map(&self, findings: &mut Findings) -> &Self {
        self.typed(self.value.is_map().then_some(()), "a map", findings);
        self
    }

    /// The elements of a list; none of a missing one.
    pub(crate) fn list<'b>(&'b self, findings: &mut Findings) -> impl Iterator<Item = Field<'b>> {
        let elements = self.typed(self.value.as_list(), "a list", findings).unwrap_or_default();
        elements.iter().enumerate().map(|(index, value)| self.child(Some(value), Step::Index(index)))
    }

    pub(crate) fn text(&self, findings: &mut Findings) -> Option<&'a str> {
        self.typed(self.value.as_text(), "a text", findings)
    }

    pub(crate) fn flag(&self, findings: &mut Findings) -> Option<bool> {
        self.typed(self.value.as_flag(), "true or false", findings)
    }

    pub(crate) fn number(&self, findings: &mut Findings) -> Option<i64> {
        self.typed(self.value.as_number(), "a whole number", findings)
    }

    /// A time in protobuf, seconds since 1970; JSON has a [`text`](Self::text).
    pub(crate) fn unix_s(&self) -> Option<i64> {
        self.value.as_time()
    }

    /// A port number; `None` for a missing one and for 0, which mean none (W6).
    pub(crate) fn port(&self, findings: &mut Findings) -> Option<Port> {
        let number = self.typed(self.value.as_number(), "a port number", findings)?;
        let port =
            u16::try_from(number).map_err(|_| findings.invalid(self, format!("{number} is no port; use 1 to 65535")));
        port.ok().and_then(Port::new)
    }

    fn typed<T>(&self, value: Option<T>, wanted: &str, findings: &mut Findings) -> Option<T> {
        if value.is_none() && !self.is_null() {
            findings.invalid(self, format!("{} is not {wanted}", Shown(self.value)));
        }
        value
    }
}

impl Display for Field<'_> {
    /// The path, `spec.ports[1].port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let first = self.parent.is_none_or(|parent| matches!(parent.step, Step::Root));
        match self.step {
            Step::Root => Ok(()),
            Step::Name(name) if first => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Key(key) => write!(f, "[{key:?}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A value in a message: short, whatever the document says.
pub(crate) struct Shown<'a>(pub(crate) &'a Raw<'a>);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Raw::List(_) => f.write_str("a list"),
            Raw::Map(_) => f.write_str("a map"),
            Raw::Text(text) if text.chars().count() > 64 => {
                write!(f, "{:?}…", text.chars().take(64).collect::<String>())
            }
            // Escapes what JSON lets through, too: nothing of a document moves a cursor.
            Raw::Text(text) => write!(f, "{text:?}"),
            Raw::Null => f.write_str("null"),
            Raw::Flag(flag) => flag.fmt(f),
            Raw::Number(number) => number.fmt(f),
            Raw::Time(unix_s) => write!(f, "the time {unix_s}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_of_the_wrong_type_is_a_finding_with_its_path_and_a_missing_one_is_none() {
        let doc = json!({"spec": {"ports": [{"port": 80}, {"port": "x"}, {"port": 70000}, {"port": 0}]}, "labels": {"a.b/c": 1}});
        let doc = Raw::from(&doc);
        let mut findings = Findings::of(ObjectRef::new("Service", "a/b"));
        let root = Field::root(&doc);
        let (spec, labels) = (root.get("spec"), root.get("labels"));
        let ports: Vec<_> = spec
            .get("ports")
            .list(&mut findings)
            .map(|p| p.get("port").port(&mut Findings::of(ObjectRef::new("", ""))))
            .collect();
        assert_eq!(ports, [Port::new(80), None, None, None]);
        let ports = spec.get("ports");
        let elements: Vec<_> = ports.list(&mut findings).collect();
        for element in &elements {
            element.get("port").port(&mut findings);
        }
        labels.key("a.b/c").text(&mut findings);
        root.get("nothing").text(&mut findings);
        let found: Vec<_> =
            findings.into_diagnostics().into_iter().map(|d| format!("{}: {}", d.field, d.message)).collect();
        assert_eq!(
            found,
            [
                r#"spec.ports[1].port: "x" is not a port number"#,
                "spec.ports[2].port: 70000 is no port; use 1 to 65535",
                r#"labels["a.b/c"]: 1 is not a text"#,
            ]
        );
    }

    #[test]
    fn findings_are_limited_and_say_how_many_more_there_are() {
        let mut findings = Findings::of(ObjectRef::new("Service", "a/b"));
        (0..20).for_each(|n| findings.invalid(&Field::root(&Raw::Null), format!("finding {n}")));
        let found = findings.into_diagnostics();
        assert_eq!(found.len(), FINDINGS_MAX);
        assert_eq!(found[FINDINGS_MAX - 1].message, "finding 15 (and 4 more findings in this object)");
    }
}
