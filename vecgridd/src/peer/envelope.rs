//! Who sends a message, and for whom it is meant.

use std::sync::OnceLock;

use tonic::{
    Request,
    metadata::{Ascii, MetadataMap, MetadataValue},
};

use super::RefusedPeer;
use crate::{storage::keys::member::Identity, types::MemberId};

/// Version of the contract that this daemon speaks.
const PROTOCOL: &str = "1";
const PROTOCOL_KEY: &str = "vecgrid-protocol";
const GRID_KEY: &str = "vecgrid-grid";
const MEMBER_KEY: &str = "vecgrid-member";
const STORE_KEY: &str = "vecgrid-store";
const TO_KEY: &str = "vecgrid-to";

/// Who this daemon is. Its grid is set once, when it founds or joins one.
#[derive(Debug)]
pub struct Me {
    identity: Identity,
    grid: OnceLock<String>,
}

impl Me {
    /// Without a grid.
    pub fn new(identity: Identity) -> Self {
        Self { identity, grid: OnceLock::new() }
    }

    /// The member.
    pub fn member(&self) -> &MemberId {
        &self.identity.member
    }

    /// Its disk.
    pub fn store(&self) -> &str {
        &self.identity.store
    }

    /// Id of its grid; empty while it has none.
    pub fn grid(&self) -> &str {
        self.grid.get().map_or("", String::as_str)
    }

    /// It belongs to this grid from now on; what was set first stays.
    pub fn belongs_to(&self, grid: &str) {
        let _ = self.grid.set(grid.to_owned());
    }
}

/// What every request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Id of the sender's grid; empty while it has none.
    pub grid: String,
    /// The sender.
    pub member: MemberId,
    /// Its disk.
    pub store: String,
    /// The receiver, unless only its address is known.
    pub to: Option<MemberId>,
}

impl Envelope {
    /// From us.
    pub fn from_me(me: &Me, to: Option<&MemberId>) -> Self {
        Self {
            grid: me.grid().to_owned(),
            member: me.member().clone(),
            store: me.store().to_owned(),
            to: to.cloned(),
        }
    }

    /// A request in this envelope.
    pub fn around<T>(&self, message: T) -> Result<Request<T>, RefusedPeer> {
        let mut request = Request::new(message);
        let to = self.to.as_ref().map_or("", |to| &to.0);
        let values = [(PROTOCOL_KEY, PROTOCOL), (GRID_KEY, &self.grid), (MEMBER_KEY, &self.member.0)];
        for (key, value) in values.into_iter().chain([(STORE_KEY, self.store.as_str()), (TO_KEY, to)]) {
            let value: MetadataValue<Ascii> = value.parse().map_err(|_| RefusedPeer::Malformed)?;
            request.metadata_mut().insert(key, value);
        }
        Ok(request)
    }

    /// Reads the envelope of a request.
    pub fn read(metadata: &MetadataMap) -> Result<Self, RefusedPeer> {
        let value = |key: &'static str| {
            let value = metadata.get(key).and_then(|value| value.to_str().ok());
            value.map(str::to_owned).ok_or(RefusedPeer::Malformed)
        };
        if value(PROTOCOL_KEY)? != PROTOCOL {
            return Err(RefusedPeer::Protocol);
        }
        let (member, to) = (value(MEMBER_KEY)?, value(TO_KEY)?);
        if member.is_empty() {
            return Err(RefusedPeer::Malformed);
        }
        Ok(Self {
            grid: value(GRID_KEY)?,
            member: MemberId(member),
            store: value(STORE_KEY)?,
            to: (!to.is_empty()).then_some(MemberId(to)),
        })
    }

    /// Whether a message is meant for us and comes from our grid.
    pub fn check(&self, me: &Me) -> Result<(), RefusedPeer> {
        if self.to.as_ref().is_some_and(|to| to != me.member()) {
            return Err(RefusedPeer::NotMe);
        }
        // Also a copy of this data directory, run twice.
        if &self.member == me.member() {
            return Err(RefusedPeer::SameMember);
        }
        Ok(())
    }

    /// Whether sender and receiver are of one grid.
    pub fn check_grid(&self, me: &Me) -> Result<(), RefusedPeer> {
        match (self.grid.as_str(), me.grid()) {
            ("", _) | (_, "") => Err(RefusedPeer::NoGrid),
            (theirs, ours) if theirs == ours => Ok(()),
            _ => Err(RefusedPeer::OtherGrid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(member: &str, grid: &str) -> Me {
        let me = Me::new(Identity { member: MemberId(member.into()), store: format!("{member}-disk") });
        if !grid.is_empty() {
            me.belongs_to(grid);
        }
        me
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let envelope = Envelope::from_me(&me("a", "g"), Some(&MemberId("b".into())));
        let request = envelope.around(()).unwrap();
        assert_eq!(Envelope::read(request.metadata()).unwrap(), envelope);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sent = |from: &Me, to: &str| {
            let to = (!to.is_empty()).then(|| MemberId(to.into()));
            Envelope::from_me(from, to.as_ref())
        };
        let b = me("b", "g");
        let a = sent(&me("a", "g"), "b");
        assert_eq!((a.check(&b), a.check_grid(&b)), (Ok(()), Ok(())));
        assert_eq!(sent(&me("a", "g"), "c").check(&b), Err(RefusedPeer::NotMe));
        assert_eq!(sent(&me("b", "g"), "b").check(&b), Err(RefusedPeer::SameMember));
        assert_eq!(sent(&me("a", "other"), "b").check_grid(&b), Err(RefusedPeer::OtherGrid));
        assert_eq!(sent(&me("a", ""), "b").check_grid(&b), Err(RefusedPeer::NoGrid));
        assert_eq!(Envelope::read(&MetadataMap::new()), Err(RefusedPeer::Malformed));
    }
}
