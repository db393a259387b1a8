//! `grpc.health.v1`: the same truth as `/readyz`, asked for at every check.
//!
//! Names: `""` and `vecgrid.v1.VecGrid` serve while the daemon takes requests; `vecgrid.startup`
//! serves from the moment rows are loaded. tonic's own health service wants to be told of changes;
//! readiness here is a question, so a watch asks it four times a second.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};

use super::{Answers, VECGRID};
use crate::api::door::{Door, Readiness};

const STARTUP: &str = "vecgrid.startup";
const WATCH_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Health {
    door: Arc<Door>,
}

impl Health {
    pub(super) fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

fn status_of(door: &Door, service: &str) -> ServingStatus {
    let serving = match service {
        "" | VECGRID => door.readiness() == Readiness::Ready,
        STARTUP => door.service.get().is_some(),
        _ => return ServingStatus::ServiceUnknown,
    };
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match status_of(&self.door, &request.get_ref().service) {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found("no such service: try `` or vecgrid.startup"))
            }
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut ticks = interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let watch =
            Watch { door: Arc::clone(&self.door), service: request.into_inner().service, told: None, ticks };
        Ok(Response::new(stream::unfold(watch, Watch::next).boxed()))
    }
}

struct Watch {
    door: Arc<Door>,
    service: String,
    told: Option<ServingStatus>,
    ticks: tokio::time::Interval,
}

impl Watch {
    /// The next change. Ends after having told that the daemon drains, so that it does not hold it up.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let status = status_of(&self.door, &self.service);
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(response(status)), self));
            }
            if self.door.shutdown.is_cancelled() {
                return None;
            }
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = self.door.shutdown.cancelled() => {}
            }
        }
    }
}
