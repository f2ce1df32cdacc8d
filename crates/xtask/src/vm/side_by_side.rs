//! Several jobs at a time.
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does each of several jobs, so many at a time; what comes of them in their order.
pub(super) fn side_by_side<J: Copy + Sync, A: Send>(
    jobs: &[J],
    at_a_time: usize,
    perform: impl Fn(J) -> A + Sync,
) -> Vec<A> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(&job) = jobs.get(place) else { return };
            let answer = perform(job);
            done.lock().expect("invariant: nobody panics while it holds this").push((place, answer));
        }
    };
    thread::scope(|scope| (0..at_a_time).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().expect("invariant: nobody panics while it holds this");
    done.sort_by_key(|&(place, _)| place);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_side_by_side_answer_in_their_order_and_each_once() {
        let jobs: Vec<usize> = (0..50).collect();
        for at_a_time in [1, 2, 7] {
            assert_eq!(side_by_side(&jobs, at_a_time, |job| job * 2), (0..100).step_by(2).collect::<Vec<_>>());
        }
    }
}
