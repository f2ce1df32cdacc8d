//! Follows kinds of object over one route netlink socket.
//!
//! Listings and notifications share the socket, so the kernel puts them into one order and nothing falls between the two.
use crate::notice::{News, Notice, notices};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use std::{fmt, io};

/// include/uapi/linux/rtnetlink.h: groups as bits.
const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const ENOBUFS: i32 = 105;

/// The kernel's objects cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The socket cannot be opened.
    #[error(
        "cannot open a route netlink socket: {0}; the agent needs the host's network namespace and a tokio runtime"
    )]
    Open(#[source] io::Error),
    /// The socket failed.
    #[error("route netlink socket failed: {0}; a new one has to be opened")]
    Socket(#[source] io::Error),
    /// The kernel refuses to list.
    #[error("the kernel does not list the {subject}: {source}; a new watch has to be opened")]
    List {
        /// What was to be listed.
        subject: Subject,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A kind of object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// Devices.
    Links,
    /// Addresses on devices.
    Addresses,
}

impl Subject {
    fn groups(self) -> u32 {
        match self {
            Self::Links => RTMGRP_LINK,
            Self::Addresses => RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
        }
    }

    fn request(self) -> Vec<u8> {
        let mut request = NetlinkMessage::from(match self {
            Self::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Self::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        });
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        bytes
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Links => "links",
            Self::Addresses => "addresses",
        })
    }
}

/// What a feed tells, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// Everything is listed from here on.
    Begun,
    /// An object, as listed or as it has changed.
    News(News),
    /// Everything that is there has been told.
    Settled,
}

/// How far the listing of all subjects is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listing {
    /// The first of these has to be asked for.
    Due(&'static [Subject]),
    /// The first of these is being told.
    Running(&'static [Subject]),
    Done,
}

/// The subjects and the state of their listing, apart from the socket.
struct Lister {
    subjects: &'static [Subject],
    listing: Listing,
}

impl Lister {
    fn new(subjects: &'static [Subject]) -> Self {
        Self { subjects, listing: Listing::Due(subjects) }
    }

    /// What has to be asked for now. A socket has one listing at a time (EBUSY), so the next one waits for its end.
    fn due(&self) -> Option<Subject> {
        match self.listing {
            Listing::Due(subjects) => subjects.first().copied(),
            Listing::Running(_) | Listing::Done => None,
        }
    }

    /// It has been asked for.
    fn asked(&mut self) -> Option<Told> {
        let Listing::Due(subjects) = self.listing else { return None };
        self.listing = Listing::Running(subjects);
        (subjects.len() == self.subjects.len()).then_some(Told::Begun)
    }

    fn digest(&mut self, notice: Notice) -> Result<Option<Told>, WatchError> {
        match (notice, self.listing) {
            (Notice::News(news), _) => Ok(Some(Told::News(news))),
            (Notice::Listed { interrupted: true }, Listing::Running(_)) => {
                self.listing = Listing::Due(self.subjects);
                Ok(None)
            }
            (Notice::Listed { interrupted: false }, Listing::Running([_, rest @ ..])) if !rest.is_empty() => {
                self.listing = Listing::Due(rest);
                Ok(None)
            }
            (Notice::Listed { interrupted: false }, Listing::Running(_)) => {
                self.listing = Listing::Done;
                Ok(Some(Told::Settled))
            }
            (Notice::Failed(errno), Listing::Running([subject, ..])) => {
                Err(WatchError::List { subject: *subject, source: io::Error::from_raw_os_error(errno) })
            }
            // Nobody asked.
            (Notice::Listed { .. } | Notice::Failed(_), _) => Ok(None),
        }
    }
}

/// A socket that tells about its subjects.
pub(crate) struct Feed {
    socket: TokioSocket,
    lister: Lister,
}

impl Feed {
    /// Follows these subjects in the calling thread's network namespace; they are listed in this order.
    pub(crate) fn open(subjects: &'static [Subject]) -> Result<Self, WatchError> {
        let groups = subjects.iter().fold(0, |groups, subject| groups | subject.groups());
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(WatchError::Open)?;
        socket.socket_mut().bind(&SocketAddr::new(0, groups)).map_err(WatchError::Open)?;
        Ok(Self { socket, lister: Lister::new(subjects) })
    }

    /// What is told next; may be nothing. Dropped before it is ready and called again, it loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Vec<Told>, WatchError> {
        if let Some(subject) = self.lister.due() {
            let kernel = SocketAddr::new(0, 0);
            self.socket.send_to(&subject.request(), &kernel).await.map_err(WatchError::Socket)?;
            return Ok(self.lister.asked().into_iter().collect());
        }
        match self.socket.recv_from_full().await {
            // Port 0 is the kernel.
            Ok((datagram, from)) if from.port_number() == 0 => {
                let told = notices(&datagram).into_iter().map(|notice| self.lister.digest(notice));
                told.filter_map(Result::transpose).collect()
            }
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => self.start_over(),
            Err(error) => Err(WatchError::Socket(error)),
        }
    }

    /// After a loss everything is listed again, on a new socket: this one goes on losing, without another word, until it has
    /// been read empty (NETLINK_S_CONGESTED, net/netlink/af_netlink.c), and what waits in it may be older than the loss.
    fn start_over(&mut self) -> Result<Vec<Told>, WatchError> {
        tracing::info!(subjects = ?self.lister.subjects, "notifications were lost; listing again");
        *self = Self::open(self.lister.subjects)?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkIndex;

    const BOTH: &[Subject] = &[Subject::Links, Subject::Addresses];
    const LISTED: Notice = Notice::Listed { interrupted: false };
    const INTERRUPTED: Notice = Notice::Listed { interrupted: true };

    /// What was asked for and what was told: each `None` asks for what is due, each notice is digested.
    fn play(steps: Vec<Option<Notice>>) -> Vec<String> {
        let mut lister = Lister::new(BOTH);
        let step = |step| match step {
            None => {
                let due = lister.due().map(|subject| subject.to_string());
                let told = lister.asked().map(|told| format!("{told:?}"));
                [due, told].into_iter().flatten().collect::<Vec<_>>()
            }
            Some(notice) => match lister.digest(notice) {
                Ok(told) => told.map(|told| format!("{told:?}")).into_iter().collect(),
                Err(error) => vec![error.to_string()],
            },
        };
        steps.into_iter().flat_map(step).collect()
    }

    #[test]
    fn subjects_are_listed_one_after_the_other_and_all_again_when_a_listing_was_of_no_single_moment() {
        let gone = || Some(Notice::News(News::LinkGone(LinkIndex::new(3))));
        let told = "News(LinkGone(LinkIndex(3)))";
        for (case, steps, want) in [
            ("both", vec![None, Some(LISTED), None, Some(LISTED)], vec!["links", "Begun", "addresses", "Settled"]),
            ("not asked twice", vec![None, None, Some(LISTED)], vec!["links", "Begun"]),
            (
                "the second is interrupted",
                vec![None, Some(LISTED), None, Some(INTERRUPTED), None, Some(LISTED), None, Some(LISTED)],
                vec!["links", "Begun", "addresses", "links", "Begun", "addresses", "Settled"],
            ),
            ("news at any time", vec![gone(), None, gone()], vec![told, "links", "Begun", told]),
            ("an end that nobody waits for", vec![Some(LISTED), None], vec!["links", "Begun"]),
        ] {
            assert_eq!(play(steps), want, "case: {case}");
        }
    }

    #[test]
    fn a_refused_listing_is_an_error_that_names_what_was_to_be_listed() {
        let mut lister = Lister::new(BOTH);
        let _links = (lister.asked(), lister.digest(LISTED).unwrap(), lister.asked());
        let error = lister.digest(Notice::Failed(1)).unwrap_err();
        assert!(matches!(&error, WatchError::List { subject: Subject::Addresses, .. }), "{error}");
        assert!(error.to_string().starts_with("the kernel does not list the addresses: "), "{error}");
        assert_eq!(Lister::new(BOTH).digest(Notice::Failed(1)).unwrap(), None, "nobody asked");
    }
}
