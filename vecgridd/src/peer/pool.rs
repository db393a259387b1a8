//! Three channels for each member that this one talks to, and where each can be reached.
//!
//! One is for control, one for data, one for copies. Data has connections of its own, served by a runtime of its own,
//! so that a large batch never delays a beat, nor a piece of a snapshot a search.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Handle;
use tonic::transport::Channel;
use vecgrid_proto::peer::{copies_client::CopiesClient, data_client::DataClient, peer_client::PeerClient};

use super::{
    Envelope, Me, PeerError, Security,
    connect::{self, Kind},
    conversation::{Conversation, Conversations},
};
use crate::{task::Tasks, types::MemberId};

/// Largest message between members: a piece of a snapshot and some.
pub(super) const MAX_MESSAGE: usize = 16 << 20;
/// Largest message about rows. An app's door takes 64 MiB; ids, records and floors around the same content may need
/// a little more.
pub const MAX_DATA_MESSAGE: usize = 80 << 20;
/// Largest message to a copy: one that begins with a record as large as a write may be.
pub const MAX_COPY_MESSAGE: usize = MAX_DATA_MESSAGE + (2 << 20);

pub(super) type Client = PeerClient<Channel>;
/// Asks about rows.
pub type Rows = DataClient<Channel>;
/// Tells copies.
pub(super) type Copies = CopiesClient<Channel>;

struct Known {
    address: String,
    incarnation: u64,
    client: Client,
    rows: Rows,
    conversations: Arc<Conversations>,
    copies: Copies,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    me: Arc<Me>,
    known: Arc<Mutex<BTreeMap<MemberId, Known>>>,
    security: Security,
    /// Serves the channels, whoever calls.
    runtime: Handle,
    /// The same for data.
    data_runtime: Handle,
    /// Streams end with them.
    tasks: Tasks,
}

impl Pool {
    /// Knows nobody.
    pub fn new(me: Arc<Me>, security: Security, runtime: Handle) -> Self {
        let (known, tasks) = (Arc::default(), Tasks::default());
        Self { me, known, security, data_runtime: runtime.clone(), runtime, tasks }
    }

    /// Data goes over connections that this runtime serves, until these tasks are stopped.
    #[must_use]
    pub fn with_data_on(self, data_runtime: Handle, tasks: &Tasks) -> Self {
        Self { data_runtime, tasks: tasks.clone(), ..self }
    }

    /// Who we are.
    pub fn me(&self) -> &Arc<Me> {
        &self.me
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberId, Known>> {
        // Nothing under this mutex can panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member can be reached at `address`, said the run of its daemon with this number: what a later run said
    /// stays. The channel is kept if the address is not new.
    pub fn learn(&self, member: &MemberId, address: &str, incarnation: u64) {
        let mut all = self.lock();
        if address.is_empty() || member == self.me.member() {
            return;
        }
        if let Some(known) = all.get_mut(member)
            && (known.incarnation > incarnation || known.address == address)
        {
            known.incarnation = known.incarnation.max(incarnation);
            return;
        }
        match self.know(address, incarnation) {
            Ok(known) => {
                all.insert(member.clone(), known);
            }
            Err(error) => {
                tracing::warn!(%member, %error, "a member's address cannot be used");
            }
        }
    }

    /// Forgets all members but these.
    pub fn retain(&self, keep: impl Fn(&MemberId) -> bool) {
        self.lock().retain(|member, _| keep(member));
    }

    /// All members of which an address is known.
    pub fn members(&self) -> Vec<(MemberId, String)> {
        self.lock().iter().map(|(member, known)| (member.clone(), known.address.clone())).collect()
    }

    /// Where a member can be reached, and which run of its daemon said so.
    pub fn address(&self, member: &MemberId) -> Option<(String, u64)> {
        self.lock().get(member).map(|known| (known.address.clone(), known.incarnation))
    }

    pub(super) fn copies(&self, member: &MemberId) -> Result<Copies, PeerError> {
        let known = self.lock().get(member).map(|known| known.copies.clone());
        known.ok_or_else(|| PeerError::NoAddress(member.0.clone()))
    }

    pub(super) fn client(&self, member: &MemberId) -> Result<Client, PeerError> {
        let known = self.lock().get(member).map(|known| known.client.clone());
        known.ok_or_else(|| PeerError::NoAddress(member.0.clone()))
    }

    pub(super) fn rows(&self, member: &MemberId) -> Result<Rows, PeerError> {
        let known = self.lock().get(member).map(|known| known.rows.clone());
        known.ok_or_else(|| PeerError::NoAddress(member.0.clone()))
    }

    /// A stream for short questions to a member.
    pub(super) fn conversation(&self, member: &MemberId) -> Result<Conversation, PeerError> {
        let known =
            self.lock().get(member).map(|known| (known.rows.clone(), Arc::clone(&known.conversations)));
        let (rows, conversations) = known.ok_or_else(|| PeerError::NoAddress(member.0.clone()))?;
        let open = || {
            let envelope = Envelope::from_me(&self.me, Some(member));
            Conversation::open(rows, &member.0, &envelope, (&self.data_runtime, &self.tasks))
        };
        conversations.pick(open)
    }

    /// A client of whoever is at an address.
    pub(super) fn client_at(&self, address: &str) -> Result<Client, PeerError> {
        let client = PeerClient::new(self.channel(address, &self.runtime, Kind::Control)?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    fn know(&self, address: &str, incarnation: u64) -> Result<Known, PeerError> {
        let (client, rows, copies) =
            (self.client_at(address)?, self.rows_at(address)?, self.copies_at(address)?);
        let conversations = Arc::new(Conversations::new());
        Ok(Known { address: address.to_owned(), incarnation, client, rows, conversations, copies })
    }

    fn copies_at(&self, address: &str) -> Result<Copies, PeerError> {
        let client = CopiesClient::new(self.channel(address, &self.data_runtime, Kind::Data)?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_COPY_MESSAGE))
    }

    fn rows_at(&self, address: &str) -> Result<Rows, PeerError> {
        let client = DataClient::new(self.channel(address, &self.data_runtime, Kind::Data)?);
        Ok(client.max_decoding_message_size(MAX_DATA_MESSAGE).max_encoding_message_size(MAX_DATA_MESSAGE))
    }

    fn channel(&self, address: &str, runtime: &Handle, kind: Kind) -> Result<Channel, PeerError> {
        let _served_there = runtime.enter();
        connect::channel(address, &self.security, kind)
            .map_err(|why| PeerError::Unreachable(address.to_owned(), why))
    }
}
