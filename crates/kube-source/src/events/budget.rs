//! How many requests Events may cost, and how they are spread.
use std::time::Duration;
use tokio::time::Instant;

/// Limits and waits. The defaults suit a cluster of thousands of nodes.
#[derive(Clone, Debug)]
pub struct EventPace {
    /// What every node would say waits for a random part of this, so that few have to be refused.
    pub cluster_spread: Duration,
    /// What only this node says waits for a random part of this: all nodes may have started at once.
    pub node_spread: Duration,
    /// A series is counted on at most this often.
    pub repeat_min: Duration,
    /// Requests that may be sent at once.
    pub burst: u32,
    /// Another one may be sent after each of these.
    pub refill: Duration,
    /// The wait after a failure that may heal; each further one of the same note doubles.
    pub retry_min: Duration,
    /// An API server that does not answer for this long has failed.
    pub answer_timeout: Duration,
}

impl Default for EventPace {
    fn default() -> Self {
        Self {
            cluster_spread: Duration::from_secs(300),
            node_spread: Duration::from_secs(10),
            repeat_min: Duration::from_secs(360),
            burst: 10,
            refill: Duration::from_secs(60),
            retry_min: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(20),
        }
    }
}

/// A token bucket: requests that may still be sent.
#[derive(Debug)]
pub(super) struct Budget {
    burst: u32,
    refill: Duration,
    left: u32,
    /// Since when the next token grows.
    since: Instant,
}

impl Budget {
    pub(super) fn new(pace: &EventPace, now: Instant) -> Self {
        Self { burst: pace.burst, refill: pace.refill, left: pace.burst, since: now }
    }

    /// When a request may be sent: now, or when the next token has grown.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        self.grow(now);
        if self.left > 0 { now } else { self.since + self.refill }
    }

    /// A request is sent; the next one that does not fit waits for its token.
    pub(super) fn take(&mut self, now: Instant) {
        self.grow(now);
        self.left = self.left.saturating_sub(1);
    }

    fn grow(&mut self, now: Instant) {
        while self.left < self.burst && now >= self.since + self.refill {
            self.left += 1;
            self.since += self.refill;
        }
        if self.left == self.burst {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_spent_at_once_and_grows_back_one_by_one() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut budget = Budget::new(&EventPace { burst: 2, refill: minute, ..EventPace::default() }, start);
        let mut wait = |minutes: u32| {
            let now = start + minute * minutes;
            let ready = budget.ready_at(now);
            if ready == now {
                budget.take(now);
            }
            (ready - now).as_secs() / 60
        };
        assert_eq!([wait(5), wait(5)], [0, 0]);
        assert_eq!([wait(5), wait(5)], [1, 1]);
        assert_eq!([wait(6), wait(6)], [0, 1]);
        assert_eq!([wait(100), wait(100), wait(100)], [0, 0, 1], "never more than the burst");
    }
}
