//! `sheave agent --check-config`: what would count if the agent were started so, and where each value comes from.
use crate::output::{Output, note, print};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use sheave_agent::config::{Config, Setting};
use std::process::ExitCode;

pub(super) fn run(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    config.limits().check()?;
    let settings = here(config);
    match output {
        Output::Json => {
            print(&format!("{:#}", json!({ "settings": settings, "notes": config.kube_proxy.notes })))?;
        }
        Output::Text => {
            print(&table(&settings))?;
            config.kube_proxy.notes.iter().for_each(|text| note(&format!("sheave: {text}")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings, with what the environment and this host decide where nothing is set.
fn here(config: &Config) -> Vec<Setting> {
    let mut settings = config.effective();
    let resolved = config.clone().resolve().ok();
    let name = resolved.as_ref().map(|config| json!(config.node_name));
    let cgroup = resolved.as_ref().and_then(|config| config.cgroup.as_ref().map(|cgroup| json!(cgroup)));
    let environment = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Value::from);
    for setting in &mut settings {
        let decided = match setting.field {
            "logging.verbosity" => environment("RUST_LOG").map(|value| (value, "$RUST_LOG")),
            _ if !setting.value.is_null() => None,
            "hostnameOverride" => name.clone().map(|value| (value, "this host")),
            "cgroup" => cgroup.clone().map(|value| (value, "this host")),
            "clientConnection.kubeconfig" => environment("KUBECONFIG").map(|value| (value, "$KUBECONFIG")),
            _ => None,
        };
        if let Some((value, origin)) = decided {
            (setting.value, setting.origin) = (value, origin.to_owned());
        }
    }
    settings
}

fn table(settings: &[Setting]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["FIELD", "VALUE", "FROM"]);
    let mut document = "";
    for setting in settings {
        if setting.document != document {
            document = setting.document;
            table.add_row([format!("# {document}"), String::new(), String::new()]);
        }
        table.add_row([setting.field.to_owned(), shown(&setting.value), setting.origin.clone()]);
    }
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if !text.is_empty() && !text.chars().any(char::is_control) => text.clone(),
        value => value.to_string(),
    }
}
