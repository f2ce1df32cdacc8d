//! Label and field selectors: the subset a service proxy and kubectl send.
use crate::object::Stored;

/// Which objects a client wants to see.
#[derive(Clone, Default, Debug)]
pub(crate) struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    Label { key: String, test: Test },
    Field { name: String, test: Test },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Test {
    Exists,
    Missing,
    Is(String),
    IsNot(String),
}

impl Test {
    /// A missing label is unequal to every value, as in Kubernetes.
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
            Self::Is(wanted) => value == Some(wanted),
            Self::IsNot(other) => value != Some(other),
        }
    }
}

impl Selector {
    /// From the parameters `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// The term that is not understood: a selector that is ignored would show too much.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, String> {
        let labels = labels.split(',').filter(|term| !term.is_empty()).map(label_term);
        let fields = fields.split(',').filter(|term| !term.is_empty()).map(field_term);
        Ok(Self { terms: labels.chain(fields).collect::<Result<_, _>>()? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub(crate) fn matches(&self, object: &Stored) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Label { key, test } => test.holds(object.labels.get(key).map(String::as_str)),
            Term::Field { name, test } => test.holds(Some(object.field(name).unwrap_or_default())),
        })
    }
}

fn label_term(term: &str) -> Result<Term, String> {
    let (key, test) = match (comparison(term), term.strip_prefix('!')) {
        (Some(comparison), _) => comparison,
        (None, Some(key)) => (key.to_owned(), Test::Missing),
        (None, None) => (term.to_owned(), Test::Exists),
    };
    let known = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
    if known { Ok(Term::Label { key, test }) } else { Err(format!("unable to parse requirement: {term}")) }
}

fn field_term(term: &str) -> Result<Term, String> {
    let (name, test) = comparison(term).ok_or_else(|| format!("invalid selector: {term:?}; can't understand"))?;
    if Stored::FIELDS.contains(&name.as_str()) {
        Ok(Term::Field { name, test })
    } else {
        Err(format!("field label not supported: {name}"))
    }
}

fn comparison(term: &str) -> Option<(String, Test)> {
    if let Some((key, value)) = term.split_once("!=") {
        return Some((key.to_owned(), Test::IsNot(value.to_owned())));
    }
    let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some((key.to_owned(), Test::Is(value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use serde_json::json;

    #[test]
    fn selectors_choose_as_the_api_server_does() {
        let resource = Resource::of_kind("Service").unwrap();
        let doc = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}, "spec": {"clusterIP": "10.96.0.1"}});
        let object = Stored::new(resource, doc, 1);
        for (labels, fields, matches) in [
            ("", "", true),
            ("app", "", true),
            ("!app", "", false),
            ("!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None", true),
            ("app=web", "metadata.name=web", true),
            ("app==web,app!=api", "metadata.namespace=shop", true),
            ("other!=x", "", true),
            ("app=api", "", false),
            ("", "spec.clusterIP=None", false),
            ("", "metadata.name=api", false),
        ] {
            assert_eq!(Selector::parse(labels, fields).unwrap().matches(&object), matches, "{labels:?} {fields:?}");
        }
        for (labels, fields) in [("app in (a)", ""), ("", "spec.ports=1"), ("", "metadata.name")] {
            assert!(Selector::parse(labels, fields).is_err(), "{labels:?} {fields:?}");
        }
    }
}
