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
use tokio::task::spawn_blocking;
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
        match settled(&path).await {
            Ok(stamps) if last.as_ref() != Some(&stamps) => {
                let again;
                (held, again) = reread(held, &stamps).await;
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

/// Waits until two looks see the same, so that a file is not read while it is written.
async fn settled(path: &Arc<Path>) -> io::Result<Stamps> {
    let mut before = look(path).await?;
    for _ in 0..SETTLE_LOOKS_MAX {
        tokio::time::sleep(SETTLE).await;
        let now = look(path).await?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

async fn look(path: &Arc<Path>) -> io::Result<Stamps> {
    let path = path.clone();
    spawn_blocking(move || scan::look(&path))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Reads what changed; also says whether a file changed again meanwhile.
async fn reread(mut held: Held, stamps: &Stamps) -> (Held, bool) {
    let stamps = stamps.clone();
    let task = spawn_blocking(move || {
        let again = held.reread(&stamps);
        (held, again)
    });
    task.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
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
