//! What a step takes besides time: CPU, memory, system calls, instructions.
use nix::mount::{MsFlags, mount};
use nix::time::{ClockId, clock_gettime};
use perf_event::events::{Hardware, Tracepoint};
use perf_event::{Builder, Counter};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Where tracefs is, or may be mounted.
const TRACEFS: &str = "/sys/kernel/tracing";
const SYSCALLS: &str = "events/raw_syscalls/sys_enter/id";
/// The kernel's memory counts as settled when it moves less than this from one look to the next: its counters are per CPU
/// and folded lazily, and what a namespace held is freed some time after it has gone.
const SETTLED_BYTES: u64 = 128 << 10;
const SETTLE_POLL: Duration = Duration::from_millis(20);
/// So many looks in a row when something was taken away: maps are freed by a work queue, some time after their last user.
const FREED_LOOKS: u32 = 8;
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

/// Counts what a thread does, and what it starts.
pub(crate) struct Meter {
    syscalls: Option<Counter>,
    instructions: Option<Counter>,
    /// System calls of the measuring itself.
    own_syscalls: u64,
}

/// What was counted. `None`: this machine does not count it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) syscalls: Option<u64>,
    pub(crate) instructions: Option<u64>,
}

impl Meter {
    /// For the calling thread and all threads and processes that it starts afterwards. Mounts tracefs where it is missing, so
    /// the caller has to have a mount namespace of its own.
    pub(crate) fn of_this_thread() -> Self {
        let syscalls = tracepoint().and_then(|id| counter(&mut Builder::new(Tracepoint::with_id(id))));
        let instructions = counter(&mut Builder::new(Hardware::INSTRUCTIONS));
        let mut meter = Self { syscalls, instructions, own_syscalls: 0 };
        let ((), nothing) = meter.measure(|| ());
        meter.own_syscalls = nothing.syscalls.unwrap_or(0);
        meter
    }

    /// Measures a step.
    pub(crate) fn measure<T>(&mut self, step: impl FnOnce() -> T) -> (T, Usage) {
        let syscalls = read(&mut self.syscalls);
        let instructions = read(&mut self.instructions);
        let (cpu, start) = (process_cpu(), Instant::now());
        let result = step();
        let (wall, cpu) = (start.elapsed(), process_cpu().saturating_sub(cpu));
        let since = |before: Option<u64>, now: Option<u64>| Some(now?.saturating_sub(before?));
        let instructions = since(instructions, read(&mut self.instructions));
        let syscalls = since(syscalls, read(&mut self.syscalls)).map(|count| count.saturating_sub(self.own_syscalls));
        (result, Usage { wall, cpu, syscalls, instructions })
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.syscalls = sum(self.syscalls, other.syscalls);
        self.instructions = sum(self.instructions, other.instructions);
    }
}

impl Usage {
    /// Nothing, of what is counted here.
    pub(crate) fn nothing() -> Self {
        Self { syscalls: Some(0), instructions: Some(0), ..Self::default() }
    }
}

/// Counters of a thread take those of its children in when these end.
fn counter(builder: &mut Builder<'_>) -> Option<Counter> {
    builder.observe_self().any_cpu().inherit(true).include_kernel().enabled(true).build().ok()
}

fn read(counter: &mut Option<Counter>) -> Option<u64> {
    counter.as_mut()?.read().ok()
}

fn tracepoint() -> Option<u64> {
    let path = Path::new(TRACEFS).join(SYSCALLS);
    if !path.exists() {
        let none = None::<&str>;
        mount(Some("tracefs"), TRACEFS, Some("tracefs"), MsFlags::empty(), none).ok()?;
    }
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// CPU time of all threads of this process.
fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// The most memory this process has held since [`forget_peak_rss`].
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// From now on the peak is what is held now (proc(5), `/proc/pid/clear_refs`).
pub(crate) fn forget_peak_rss() {
    // Where it cannot be written the peak is that of the process's whole life: never too small.
    let _unused = fs::write("/proc/self/clear_refs", "5");
}

/// A field of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// What rules are made of: slab objects that are not caches of files, vmalloc and per-CPU areas, of the whole machine. A
/// difference of two looks is the cost of what happened in between, if nothing else did.
fn kernel_memory_bytes_now() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    ["SUnreclaim", "VmallocUsed", "Percpu"].iter().map(|name| field(&text, name)).sum()
}

/// Waits until the kernel has freed what it was about to free, and says what it holds then.
pub(crate) fn kernel_memory_bytes_once_freed() -> Option<u64> {
    kernel_memory_bytes_after(FREED_LOOKS)
}

/// What the kernel holds, when nothing was taken away.
pub(crate) fn kernel_memory_bytes() -> Option<u64> {
    kernel_memory_bytes_after(1)
}

fn kernel_memory_bytes_after(looks: u32) -> Option<u64> {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let mut last = kernel_memory_bytes_now()?;
    let mut settled = 0;
    while settled < looks && Instant::now() < deadline {
        thread::sleep(SETTLE_POLL);
        let now = kernel_memory_bytes_now()?;
        settled = if now.abs_diff(last) < SETTLED_BYTES { settled + 1 } else { 0 };
        last = now;
    }
    Some(last)
}

/// `Name:   123 kB`, as files of /proc have it.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix("kB")?.trim().parse().ok();
    text.lines().find_map(value).map(|kib: u64| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_kibibytes() {
        let text = "MemFree:  7 kB\nSUnreclaim:       74760 kB\nHugePages_Total:       0\n";
        for (name, want) in
            [("SUnreclaim", Some(74_760 << 10)), ("MemFree", Some(7 << 10)), ("Mem", None), ("HugePages_Total", None)]
        {
            assert_eq!(field(text, name), want, "{name}");
        }
    }

    #[test]
    fn cpu_time_of_a_step_is_counted() {
        let mut meter = Meter { syscalls: None, instructions: None, own_syscalls: 0 };
        let (sum, usage) = meter.measure(|| (0..1_000_000_u64).fold(0, |sum: u64, n| std::hint::black_box(sum ^ n)));
        assert_eq!((sum, usage.syscalls), ((0..1_000_000).fold(0, |sum, n| sum ^ n), None));
        assert!(!usage.cpu.is_zero());
    }
}
