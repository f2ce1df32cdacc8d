//! The options that set a field of the configuration, as the command line has them.
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use sheave_agent::config::flags::{Flag, FlagKind, FlagValue, KUBE_PROXY, OWN, REFUSED};

/// Those that were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags(pub(super) Vec<FlagValue>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let refused = |(name, _): &(&'static str, &'static str)| {
            Arg::new(*name).long(*name).num_args(0..=1).default_missing_value("true").hide(true)
        };
        let kube_proxy = |flag: &'static Flag| argument(flag).help_heading("Options of kube-proxy");
        command.args(OWN.iter().map(argument)).args(KUBE_PROXY.iter().map(kube_proxy)).args(REFUSED.iter().map(refused))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(flag: &'static Flag) -> Arg {
    let argument = Arg::new(flag.name).long(flag.name).help(flag.help).hide(flag.help.is_empty());
    // The last one counts, as with kube-proxy.
    let last = argument.clone().action(ArgAction::Set).overrides_with(flag.name).allow_negative_numbers(true);
    let argument = match flag.value {
        FlagKind::Value(name) => last.value_name(name),
        FlagKind::List(name) => argument.action(ArgAction::Append).value_name(name),
        FlagKind::Switch => {
            last.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("true|false")
        }
    };
    match flag.name {
        "v" => argument.short('v'),
        "hostname-override" => argument.visible_alias("node"),
        "server" => argument.visible_alias("master"),
        _ => argument,
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if let Some((name, instead)) = REFUSED.iter().find(|(name, _)| matches.contains_id(name)) {
            return Err(clap::Error::raw(ErrorKind::UnknownArgument, format!("--{name}: {instead}\n")));
        }
        let given = |flag: &'static Flag| {
            let values = matches.get_many::<String>(flag.name)?.map(String::as_str).collect::<Vec<_>>();
            Some(FlagValue { flag, value: values.join(",") })
        };
        Ok(Self(OWN.iter().chain(KUBE_PROXY).filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
        let command = Flags::augment_args(Command::new("agent"));
        let matches = command.try_get_matches_from([&["agent"], words].concat());
        let flags = matches.and_then(|matches| Flags::from_arg_matches(&matches));
        let flags = flags.map_err(|error| error.to_string())?;
        Ok(flags.0.into_iter().map(|given| (given.flag.name, given.value)).collect())
    }

    /// H8
    #[test]
    fn the_command_line_of_a_kube_proxy_is_understood() {
        let given = |words: &[&str]| given(words).unwrap().into_iter().map(|(name, value)| format!("{name}={value}"));
        for (words, want) in [
            (&["--hostname-override=worker-1", "-v=2"][..], &["hostname-override=worker-1", "v=2"][..]),
            (&["--node", "worker-1", "--v", "4"], &["hostname-override=worker-1", "v=4"]),
            (&["--master=https://10.0.0.1:6443"], &["server=https://10.0.0.1:6443"]),
            (&["--v=2", "--v=5"], &["v=5"]),
            (&["--proxy-mode", "ipvs", "--ipvs-strict-arp"], &["ipvs-strict-arp=true", "proxy-mode=ipvs"]),
            (&["--masquerade-all=false", "--oom-score-adj=-998"], &["masquerade-all=false", "oom-score-adj=-998"]),
            (&["--oom-score-adj", "-998"], &["oom-score-adj=-998"]),
            (&["--metrics-bind-address="], &["metrics-bind-address="]),
            (
                &["--nodeport-addresses=10.0.0.0/8,::/0", "--nodeport-addresses", "192.0.2.0/24"],
                &["nodeport-addresses=10.0.0.0/8,::/0,192.0.2.0/24"],
            ),
            (&["--cluster-cidr=10.0.0.0/8", "--cluster-cidr=10.1.0.0/16"], &["cluster-cidr=10.1.0.0/16"]),
        ] {
            assert_eq!(given(words).collect::<Vec<_>>(), want, "{words:?}");
        }
    }

    #[test]
    fn what_a_proxy_is_not_for_is_refused_with_what_does_it() {
        for (words, want) in [
            (&["--cleanup"][..], "sheave cleanup --kube-proxy"),
            (&["--cleanup=true"], "sheave cleanup --kube-proxy"),
            (&["--write-config-to=x"], "--check-config"),
            (&["--healthz-port=0"], "--healthz-bind-address"),
            (&["--masquerade-al"], "--masquerade-all"),
        ] {
            let error = given(words).unwrap_err();
            assert!(error.contains(want), "{words:?}: {error}");
        }
    }
}
