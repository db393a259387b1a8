//! Why a message between members did not do what it should.

use std::fmt;

use tonic::{Code, Status};

use crate::{telemetry::Metrics, types::MemberId};

/// Why a member refuses to look at a message. The words are also the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedPeer {
    /// Not a message of a member.
    Malformed,
    /// Its certificate is none that we trust, or it has none.
    Stranger,
    /// Another version of the contract.
    Protocol,
    /// Meant for a member that is not (or no longer) at this address.
    NotMe,
    /// Somebody uses our own id: two daemons run on copies of one data directory.
    SameMember,
    /// One of the two has no grid yet.
    NoGrid,
    /// The two belong to different grids.
    OtherGrid,
    /// A known member on another disk.
    OtherStore,
    /// A member that has left for good.
    HasLeft,
}

impl RefusedPeer {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Stranger,
        Self::Protocol,
        Self::NotMe,
        Self::SameMember,
        Self::NoGrid,
        Self::OtherGrid,
        Self::OtherStore,
        Self::HasLeft,
    ];

    /// One word, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Stranger => "stranger",
            Self::Protocol => "protocol",
            Self::NotMe => "not_me",
            Self::SameMember => "same_member",
            Self::NoGrid => "no_grid",
            Self::OtherGrid => "other_grid",
            Self::OtherStore => "other_store",
            Self::HasLeft => "has_left",
        }
    }

    /// Counts and tells that something was refused; `member` is who says it sent it, if anybody.
    pub(super) fn note(self, metrics: &Metrics, member: Option<&MemberId>) {
        let (reason, times) = (self.as_str(), metrics.peer_refused(self.as_str()));
        // Whoever is refused tries again and again.
        if !times.is_power_of_two() {
            return;
        }
        match member {
            Some(member) => tracing::warn!(reason, %member, times, "a message of another member was refused"),
            None => {
                tracing::warn!(reason, times, "something that is not a member connected to --peer-listen")
            }
        }
    }
}

impl fmt::Display for RefusedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for RefusedPeer {}

impl From<RefusedPeer> for Status {
    fn from(refused: RefusedPeer) -> Self {
        Status::failed_precondition(refused.as_str())
    }
}

/// Why a call to another member gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// Nobody knows where it is.
    #[error("the address of member {0} is not known")]
    NoAddress(String),
    /// No connection: the request was not sent.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// No answer in time: it may have been done.
    #[error("{0} did not answer in time")]
    Late(String),
    /// It looked at the envelope and refused: not done.
    #[error("{0} refused the message: {1}")]
    Refused(String, RefusedPeer),
    /// It cannot answer this now: not done.
    #[error("{0} cannot answer now: {1}")]
    NotNow(String, String),
    /// Anything else: it may have been done.
    #[error("{0} failed: {1}")]
    Failed(String, String),
}

impl PeerError {
    /// What a status means; `whom` is for people.
    pub(super) fn of(whom: &str, status: &Status) -> Self {
        let (whom, text) = (whom.to_owned(), status.message().to_owned());
        let refused = RefusedPeer::ALL.into_iter().find(|reason| reason.as_str() == status.message());
        match (status.code(), refused) {
            (Code::FailedPrecondition, Some(reason)) => Self::Refused(whom, reason),
            (Code::DeadlineExceeded | Code::Cancelled, _) => Self::Late(whom),
            (Code::Aborted, _) => Self::NotNow(whom, text),
            // tonic says so for a connection that was refused, and for one that broke; `connect.rs` marks ours.
            (Code::Unavailable, _) if text.contains(super::connect::NOT_CONNECTED) => {
                Self::Unreachable(whom, text)
            }
            _ => Self::Failed(whom, text),
        }
    }

    /// True when whoever is there has no certificate that we trust.
    pub fn is_distrust(&self) -> bool {
        matches!(self, Self::Unreachable(_, why) if why.contains("certificate"))
    }

    /// True when the host of the address says that nobody listens there.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Unreachable(_, why) if why.contains("refused"))
    }

    /// True when the request certainly had no effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Late(_) | Self::Failed(..))
    }
}
