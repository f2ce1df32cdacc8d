//! `logging` of `KubeProxyConfiguration`: how much is said, and in which form.
use super::fields::{BadValue, Fields};
use super::value::{Located, Refusal};
use tracing::level_filters::LevelFilter;

/// What is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logging {
    /// `verbosity`, by what Kubernetes means with it: from 4 on it is debugging, from 5 on tracing
    /// (community, `contributors/devel/sig-instrumentation/logging.md`).
    pub level: LevelFilter,
    /// `format`.
    pub format: LogFormat,
}

/// The form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    const NAMES: [(&str, Self); 3] = [("", Self::Auto), ("text", Self::Text), ("json", Self::Json)];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, format: LogFormat::default() }
    }
}

impl Logging {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, BadValue> {
        let default = Self::default();
        Ok(Self {
            level: fields.read("logging.verbosity", level)?.unwrap_or(default.level),
            format: fields.read("logging.format", |located| located.choice(&LogFormat::NAMES))?.unwrap_or_default(),
        })
    }
}

fn level(located: &Located) -> Result<LevelFilter, Refusal> {
    let word = located.text().ok().and_then(|text| LEVELS.iter().find(|(name, _)| *name == text));
    if let Some((_, level)) = word {
        return Ok(*level);
    }
    match located.integer(0..=u32::MAX) {
        Ok(0..=3) => Ok(LevelFilter::INFO),
        Ok(4) => Ok(LevelFilter::DEBUG),
        Ok(5..) => Ok(LevelFilter::TRACE),
        Err(_) => {
            Err(located.refuse("a verbosity: a number from 0 (info) by 4 (debug) to 5 (trace), or error or warn"))
        }
    }
}

const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn the_verbosity_of_klog_is_a_level() {
        for (text, want) in [
            ("", Some(Logging::default())),
            ("verbosity: 0", Some(Logging::default())),
            ("verbosity: 2", Some(Logging::default())),
            ("verbosity: 4", Some(Logging { level: LevelFilter::DEBUG, format: LogFormat::Auto })),
            ("verbosity: 9, format: json", Some(Logging { level: LevelFilter::TRACE, format: LogFormat::Json })),
            ("format: text", Some(Logging { level: LevelFilter::INFO, format: LogFormat::Text })),
            ("verbosity: -1", None),
            ("verbosity: loud", None),
            ("format: xml", None),
        ] {
            let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
            let config = Config::parse(&format!("{head}logging: {{{text}}}\n"), Path::new("config.conf"));
            assert_eq!(config.ok().map(|config| config.kube_proxy.logging), want, "{text}");
        }
    }
}
