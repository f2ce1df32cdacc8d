//! Follows the links, and tells what is different.
use crate::feed::{Feed, Subject, Told, WatchError};
use crate::notice::News;
use crate::table::{LinkChange, LinkTable};
use tokio::sync::mpsc;

/// Changes that wait for their reader. Behind them the kernel's buffer fills, and after that links are listed again.
const BACKLOG: usize = 256;

/// The changes of the links, in order.
pub struct LinkWatch {
    changes: mpsc::Receiver<Result<LinkChange, WatchError>>,
}

impl LinkWatch {
    /// The next change: at first each link that is there, then [`LinkChange::Settled`], then what happens. After an error
    /// comes `None`.
    ///
    /// # Errors
    /// The socket is of no use any more; watch again.
    pub async fn next(&mut self) -> Option<Result<LinkChange, WatchError>> {
        self.changes.recv().await
    }

    /// The next change if it is there already; `None` otherwise.
    ///
    /// # Errors
    /// As [`LinkWatch::next`].
    pub fn at_hand(&mut self) -> Option<Result<LinkChange, WatchError>> {
        self.changes.try_recv().ok()
    }
}

/// Follows the links of the calling thread's network namespace, from a task of the current tokio runtime. Ends when the
/// result is dropped.
///
/// # Errors
/// The socket cannot be opened.
pub fn watch_links() -> Result<LinkWatch, WatchError> {
    let feed = Feed::open(&[Subject::Links])?;
    let (sink, changes) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        tokio::select! {
            () = sink.closed() => {}
            Err(error) = follow(feed, &sink) => {
                let _ = sink.send(Err(error)).await;
            }
        }
    });
    Ok(LinkWatch { changes })
}

async fn follow(mut feed: Feed, sink: &mpsc::Sender<Result<LinkChange, WatchError>>) -> Result<(), WatchError> {
    let mut table = LinkTable::default();
    loop {
        for told in feed.next().await? {
            for change in changes(&mut table, told) {
                if sink.send(Ok(change)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn changes(table: &mut LinkTable, told: Told) -> Vec<LinkChange> {
    match told {
        Told::Begun => {
            table.begin_listing();
            Vec::new()
        }
        Told::News(News::Link(link)) => table.put(link).into_iter().collect(),
        Told::News(News::LinkGone(index)) => table.remove(index).into_iter().collect(),
        Told::News(News::Address(..) | News::AddressGone(_)) => Vec::new(),
        Told::Settled => table.end_listing(),
    }
}
