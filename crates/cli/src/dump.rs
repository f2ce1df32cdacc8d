//! `sheave dump`: what the kernel holds, read from the pinned maps; no agent needs to run.
use crate::output::{Output, is_root, print, with_sudo};
use crate::settings::Settings;
use clap::Args;
use serde_json::{Value, json};
use sheave_bpf::contents::Stray;
use sheave_bpf::read_back::read_back_live;
use sheave_core::plan::Realized;
use sheave_core::{ServiceKey, Serving};
use std::fmt::Display;
use std::iter;
use std::process::ExitCode;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sudo sheave dump\n  sudo sheave dump --service shop/web\n  sudo sheave dump -o json \
    | jq '.services[].backends[]'"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Only Services whose NAMESPACE/NAME contains this
    #[arg(long, value_name = "TEXT")]
    service: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(is_root(), "reading the kernel's maps needs root; run: {}", with_sudo());
    let bpffs = arguments.settings.load()?.bpffs;
    let (image, strays) = read_back_live(&bpffs)?;
    let wanted = arguments.service.as_deref().unwrap_or("");
    let held: Vec<(ServiceKey, Serving)> = image
        .keys()
        .into_iter()
        .filter(|key| key.port.service.to_string().contains(wanted))
        .filter_map(|key| image.serving(&key).map(|serving| (key, serving)))
        .collect();
    match arguments.output {
        Output::Json => print(&format!("{:#}", as_json(&held, &strays)))?,
        Output::Text if held.is_empty() && strays.is_empty() => {
            let of_that_name = arguments.service.as_ref().map_or(String::new(), |text| format!(" of the name {text}"));
            print(&format!("no Service{of_that_name} is held in {}", bpffs.join("sheave").display()))?;
        }
        Output::Text => print(&as_text(&held, &strays))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn texts<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn as_json(held: &[(ServiceKey, Serving)], strays: &[Stray]) -> Value {
    let service = |(key, serving): &(ServiceKey, Serving)| {
        json!({
            "service": key.port.to_string(),
            "protocol": key.port.protocol.to_string(),
            "family": key.family.to_string(),
            "frontends": texts(serving.frontends.keys()),
            "backends": texts(serving.cluster.keys()),
            "draining": texts(serving.keep.keys()),
        })
    };
    json!({ "services": held.iter().map(service).collect::<Vec<_>>(), "strays": texts(strays) })
}

fn as_text(held: &[(ServiceKey, Serving)], strays: &[Stray]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["SERVICE", "FRONTENDS", "BACKENDS", "DRAINING"]);
    for (key, serving) in held {
        let backends = match serving.cluster.is_empty() {
            true => "none: new connections are refused".to_owned(),
            false => texts(serving.cluster.keys()).join("\n"),
        };
        let row = [
            key.port.to_string(),
            texts(serving.frontends.keys()).join("\n"),
            backends,
            texts(serving.keep.keys()).join("\n"),
        ];
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    iter::once(table.trim_fmt()).chain(texts(strays)).collect::<Vec<_>>().join("\n")
}
