//! Notices quickly that something at a path may have changed. A hint, not a promise: the caller looks by itself as well.
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tracing::debug;

pub(super) struct Notice {
    /// Ends watching when dropped.
    _watcher: Option<RecommendedWatcher>,
    hints: mpsc::Receiver<()>,
    /// Keeps the channel open where there is no watcher.
    _sender: mpsc::Sender<()>,
}

impl Notice {
    /// Of a file or a directory. Without inotify (limits, file systems) there are no hints.
    pub(super) fn of(path: &Path) -> Self {
        let (sender, hints) = mpsc::channel(1);
        let watcher = watch(path, sender.clone());
        if let Err(error) = &watcher {
            debug!(%error, path = %path.display(), "no inotify; looking from time to time");
        }
        Self { _watcher: watcher.ok(), hints, _sender: sender }
    }

    /// Waits for the next hint.
    pub(super) async fn changed(&mut self) {
        self.hints.recv().await;
    }
}

fn watch(path: &Path, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading opens and closes files, too.
        let read_only = |kind: &EventKind| match kind {
            EventKind::Access(access) => *access != AccessKind::Close(AccessMode::Write),
            _ => false,
        };
        if event.is_ok_and(|event| read_only(&event.kind)) {
            return;
        }
        // A full channel holds a hint already.
        let _ = sender.try_send(());
    })?;
    // The directory around a file: a file that is replaced has a new inode, which nobody watches.
    for directory in
        [path.parent().map(directory_or_here), path.is_dir().then(|| path.to_owned())].into_iter().flatten()
    {
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn directory_or_here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}
