//! Under which conditions the figures were taken.
use super::comparison::Machine;
use super::figure;
use crate::record::{Environment, Load, Scenario, Unit};

/// A machine that is busier than this for each CPU shares it with the measurement.
const LOAD_MAX: f64 = 0.5;

/// Name and value, line by line; of the first run what runs of one machine have in common, and then each run.
pub(super) fn conditions(machine: &Machine) -> Vec<(String, String)> {
    let Some((environment, _)) = machine.runs.first() else { return Vec::new() };
    let mut lines = vec![
        ("kernel", format!("{} {}", environment.kernel, environment.arch)),
        ("CPU", format!("{} × {}", environment.cpus, environment.cpu_model)),
        ("frequency governor", environment.governor.clone().unwrap_or_else(|| "none".to_owned())),
        ("memory", figure::value(environment.memory_bytes as f64, Unit::Bytes)),
        ("machine", environment.virtualisation.clone().unwrap_or_else(|| "bare metal".to_owned())),
        ("sheave", environment.sheave.clone()),
    ];
    for (name, settings) in [("tools", &environment.tools), ("sysctls", &environment.sysctls)] {
        let settings: Vec<_> = settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if !settings.is_empty() {
            lines.push((name, settings.join(", ")));
        }
    }
    lines.extend(machine.runs.iter().map(|(environment, scenario)| ("run", run(environment, scenario))));
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn run(environment: &Environment, scenario: &Scenario) -> String {
    let Scenario { name, seed, repeats, point_limit_s, .. } = scenario;
    let end = environment.load_after.map_or_else(|| "not finished".to_owned(), load);
    format!(
        "{}: scenario {name}, seed {seed}, {repeats} rounds, at most {point_limit_s} s a point, load average {} before, {end} after",
        environment.date.strftime("%Y-%m-%d %H:%M UTC"),
        load(environment.load_before),
    )
}

fn load(Load(one, five, fifteen): Load) -> String {
    format!("{one:.2} {five:.2} {fifteen:.2}")
}

/// What a reader should know before believing the figures.
pub(super) fn warnings(machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    for (environment, scenario) in &machine.runs {
        let run = format!("The run of {} ({})", environment.date.strftime("%Y-%m-%d %H:%M UTC"), scenario.name);
        let load = environment.load_before.0;
        if load > LOAD_MAX * f64::from(environment.cpus) {
            warnings
                .push(format!("{run} began on a busy machine: load average {load:.2} on {} CPUs.", environment.cpus));
        }
        if environment.load_after.is_none() {
            warnings.push(format!("{run} was interrupted; what follows is what it had measured."));
        }
        if (scenario.repeats as usize) < crate::stats::ROUNDS_MIN {
            let min = crate::stats::ROUNDS_MIN;
            warnings.push(format!("{run} has {} rounds a point; intervals of ratios need {min}.", scenario.repeats));
        }
    }
    warnings
}
