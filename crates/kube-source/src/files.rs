//! Manifest files as a source: read at start, and again when they change.
//!
//! A file that no longer reads, or has nothing in it any more, keeps its last good content. A file cut off between two
//! documents reads well and means what it says: nothing tells it from one that was shortened on purpose. Who writes large
//! files writes them beside and renames them; who does not is given [`SETTLE`] between two writes. Changes are noticed by inotify and, because that misses network
//! file systems and directories that were replaced, by looking every two seconds.
mod held;
mod notice;
pub(crate) mod scan;

use crate::said::Said;
use held::Held;
use notice::Notice;
use scan::Stamps;
use sheave_core::{Diagnostic, Event, ObjectRef, Problem};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinError, spawn_blocking};
use tracing::info;

/// A writer that pauses for longer is taken to have finished.
const SETTLE: Duration = Duration::from_millis(20);
/// Looks until a directory settles; one that never does is read as it is.
const SETTLE_LOOKS_MAX: usize = 50;
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Runs until nobody listens any more.
pub(crate) async fn run(path: PathBuf, node: &str, events: Sender<Vec<Event>>) {
    let mut notice = Notice::of(&path);
    let mut held = Held::default();
    let mut said = Said::default();
    let mut last: Option<Stamps> = None;
    let path: Arc<Path> = path.into();
    loop {
        // Whoever ends the runtime ends the source.
        let Some(looked) = settled(&path).await else { return };
        match looked {
            Ok(stamps) if last.as_ref() != Some(&stamps) => {
                let Some((reread, again)) = reread(held, &stamps).await else { return };
                held = reread;
                let mut news = held.manifests.lists(node);
                news.extend(said.say_all(held.manifests.diagnostics(node)));
                info!(files = stamps.len(), objects = held.manifests.objects(), "manifests read");
                if events.send(news).await.is_err() {
                    return;
                }
                last = (!again).then_some(stamps);
            }
            Ok(_) => {}
            Err(error) => {
                last = None;
                if !report_unreadable(&path, &error, &mut said, &events).await {
                    return;
                }
            }
        }
        tokio::select! {
            () = notice.changed() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = events.closed() => return,
        }
    }
}

/// Waits until two looks see the same, so that a file is not read while it is written. `None` as in [`off_the_workers`].
async fn settled(path: &Arc<Path>) -> Option<io::Result<Stamps>> {
    let mut before = look(path).await?;
    for _ in 0..SETTLE_LOOKS_MAX {
        let Ok(seen) = &before else { break };
        tokio::time::sleep(SETTLE).await;
        let now = look(path).await?;
        if now.as_ref().is_ok_and(|now| now == seen) {
            break;
        }
        before = now;
    }
    Some(before)
}

async fn look(path: &Arc<Path>) -> Option<io::Result<Stamps>> {
    let path = path.clone();
    off_the_workers(move || scan::look(&path)).await
}

/// Reads what changed; also says whether a file changed again meanwhile. `None` as in [`off_the_workers`].
async fn reread(mut held: Held, stamps: &Stamps) -> Option<(Held, bool)> {
    let stamps = stamps.clone();
    let read = move || {
        let again = held.reread(&stamps);
        (held, again)
    };
    off_the_workers(read).await
}

/// What work on a thread of its own comes to; `None` when the runtime ends before the work has begun.
async fn off_the_workers<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => None,
    }
}

/// The path itself cannot be read: everything stays as it is (I4). Returns whether anyone still listens.
async fn report_unreadable(path: &Path, error: &io::Error, said: &mut Said, events: &Sender<Vec<Event>>) -> bool {
    let object = ObjectRef::new("File", &path.to_string_lossy());
    let message = format!("cannot be read: {error}; what was read of it before stays in force");
    let (field, origin) = (String::new(), Some(object.name.clone()));
    let diagnostic = Diagnostic { object: object.clone(), field, problem: Problem::Unreadable, message, origin };
    match said.say(object, vec![diagnostic]) {
        Some(news) => events.send(vec![news]).await.is_ok(),
        None => true,
    }
}
