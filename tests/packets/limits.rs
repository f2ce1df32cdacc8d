//! Maps that are there already, and a configuration that wants larger ones (I7).
use crate::rig::BPFFS;
use sheave_bpf::cleanup::cleanup;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, SocketLb};
use sheave_lab::Sandbox;
use std::path::Path;

const SMALL: Limits = Limits { frontends_max: 1 << 8, services_max: 1 << 8, slots_max: 1 << 8, backends_max: 1 << 8 };

#[test]
fn a_limit_that_needs_a_cleanup_to_be_raised_says_so_and_then_it_is() {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    let sandbox = Sandbox::with_bpffs("limits").unwrap();
    let load = |limits, flows_max| {
        Loader::new(Path::new(BPFFS), limits, flows_max, SocketLb::Off).load().map(drop).map_err(|e| e.to_string())
    };
    let test = move || {
        load(SMALL, 1 << 15).unwrap();
        let want = format!(
            "the pinned map {BPFFS}/sheave/v3/maps/flows_v4 has room for 32768 entries and `maps.flowsMax` asks for 65536; lower \
             it, or run `sheave cleanup`"
        );
        let error = load(SMALL, 1 << 16).unwrap_err();
        assert!(error.starts_with(&want), "{error}");
        assert_eq!(load(Limits::default(), 1 << 15), Ok(()), "the other maps grow");
        assert_eq!(load(SMALL, 1 << 14), Ok(()), "lower is always possible");
        cleanup(Path::new(BPFFS)).unwrap();
        assert_eq!(load(Limits::default(), 1 << 16), Ok(()), "as the message promised");
    };
    if let Err(panic) = sandbox.start("limits", test).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}
