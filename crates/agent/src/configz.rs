//! What `/configz` shows (H4): the settings in force, under the groups of the documents they belong to.
use crate::config::Config;
use serde_json::{Map, Value};

/// As JSON, nested as in the documents: `{"kubeproxy.config.k8s.io": {…}, "sheave.dev": {…}}`. The first key is the one under
/// which kube-proxy shows its own.
pub(crate) fn shown(config: &Config) -> String {
    let mut shown = Value::Object(Map::new());
    for setting in config.effective() {
        let group = setting.document.split('/').next().unwrap_or_default();
        let path = std::iter::once(group).chain(setting.field.split('.'));
        put(&mut shown, path, setting.value);
    }
    shown.to_string()
}

fn put<'a>(place: &mut Value, mut path: impl Iterator<Item = &'a str>, value: Value) {
    match path.next() {
        Some(name) => put(&mut place[name], path, value),
        None => *place = value,
    }
}
