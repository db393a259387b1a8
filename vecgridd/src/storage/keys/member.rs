//! What a data directory is.

use serde::{Deserialize, Serialize};

use crate::types::MemberId;

/// Written once, when the directory is first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The member.
    pub member: MemberId,
    /// This disk: a member that lost its disk must not pass for the one that had it.
    pub store: String,
}

/// Key of [`super::FORMAT_VERSION`].
pub fn format_key() -> Vec<u8> {
    b"format".to_vec()
}

/// Key of [`Identity`].
pub fn identity_key() -> Vec<u8> {
    b"identity".to_vec()
}

/// Key of the control state.
pub fn control_key() -> Vec<u8> {
    b"control".to_vec()
}
