//! Flows that another translator of this node carries: nf_conntrack, under the proxy that was here before. They pass as TCP passes that
//! has no entry; an entry is for what would be taken for the beginning of a flow, and for ports that are not to be given twice.
use crate::family::{Family, Tuple};
use crate::flow::{self, Found};
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::select::still_serves;
use sheave_abi::Counter;

/// Lets a packet pass, while the flow is kept up and its backend serves (L2); [`Outcome::NONE`] when it has to be decided anew.
#[inline(never)]
pub fn pass<F: Family>(segment: &mut Segment<F>, found: Found, now_ns: u64) -> Outcome {
    let Tuple { dst, dst_port, .. } = found.to::<F>(segment.protocol);
    let goes_on = !found.entry.is_idle(segment.protocol, now_ns)
        && (!found.is_client_side() || still_serves::<F>(found.entry.backend(), found.entry.service(), dst, dst_port));
    if !goes_on {
        flow::remove::<F>(&segment.key);
        return Outcome::NONE;
    }
    found.entry.touch(now_ns);
    Outcome::next(Counter::PassForeign)
}
