//! Asking another member, and being asked.
//!
//! Members talk gRPC (`vecgrid.peer.v1`) over a door of their own: the app's doors never serve it, and this
//! one never serves the app's API. Promises: every request says which member of which grid, on which disk,
//! sends it and for whom it is meant (`envelope.rs`), and what does not fit is refused, logged and counted
//! before anyone looks at the message; strangers do not get so far (`security.rs`); every call has a deadline; connections are bounded; an end of a
//! connection is told at once ([`Host::closed`]), as a hint.
//!
//! ```text
//! Pool ══ control ══►  listener ─► Guard (envelope) ─► Host          (cluster/door.rs answers)
//!      ══ data    ══►           └► Guard (envelope) ─► DataServices  (service/answer.rs answers)
//!  calls: hello join consensus propose beat; ask_for_rows; converse (conversation.rs)
//! ```
//!
//! What is about control runs on the runtime it was started on, which is that of the control plane: a storm of
//! searches cannot make a member look dead. A connection opens with eight bytes that name its kind; those for data
//! are served, from the first byte on, by the runtime that serves apps. One more service for data is one more
//! `add_service` where [`DataServices`] is made.
//!
//! Left out: discovery (`cluster/` finds addresses), and what messages mean.

mod calls;
mod connect;
mod conversation;
mod envelope;
mod error;
mod listener;
mod pool;
mod security;
mod server;

pub use conversation::Asks;
pub use envelope::{Envelope, Me};
pub use error::{PeerError, RefusedPeer};
pub use listener::{DataServices, PeerLimits, PeerListener, Serving};
pub use pool::{MAX_COPY_MESSAGE, MAX_DATA_MESSAGE, Pool, Rows};
pub use security::{LEAST_SECRET_BYTES, Security, SecurityError};
pub use server::{Caller, Guard, Host, Standing};
