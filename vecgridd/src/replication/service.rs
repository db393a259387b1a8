//! Being told about copies.

use tonic::{Request, Response, Status};
use vecgrid_proto::peer::{self as proto, copies_server::Copies};

use super::wire;
use crate::partition::Hosts;

/// Hands what primaries send to the owners of the copies here.
pub struct CopiesService {
    hosts: Hosts,
}

impl CopiesService {
    /// Of the copies that are here, now and later.
    pub fn new(hosts: Hosts) -> Self {
        Self { hosts }
    }
}

#[tonic::async_trait]
impl Copies for CopiesService {
    async fn replicate(
        &self,
        request: Request<proto::ReplicateRequest>,
    ) -> Result<Response<proto::ReplicateResponse>, Status> {
        let message = wire::message(request.into_inner());
        let (partition, message) =
            message.ok_or_else(|| Status::aborted("this member does not know such a message"))?;
        // The table that wants a copy here may not have come yet.
        let owner = self.hosts.get(partition);
        let owner = owner.ok_or_else(|| Status::aborted("this member is not to have a copy yet"))?;
        match owner.replicate(message).await {
            Some(have) => Ok(Response::new(wire::response(&have))),
            None => Err(Status::aborted("the copy could not take it")),
        }
    }
}
