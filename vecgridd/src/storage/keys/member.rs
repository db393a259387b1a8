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

/// Written when the member has come into its grid: from then on its control store must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Id of the grid.
    pub grid: String,
}

/// Key of [`Membership`].
pub fn membership_key() -> Vec<u8> {
    b"grid".to_vec()
}

/// Key of the control state of formats 1 and 2, where it was kept beside the rows.
pub fn old_control_key() -> Vec<u8> {
    b"control".to_vec()
}
