//! What every request needs, whichever door it comes through.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    admission::Admission,
    error::{ApiError, DoorError},
    guard::RequestIds,
    limits::ApiLimits,
};
use crate::{
    service::Service,
    task::Tasks,
    telemetry::{Metrics, Snapshot},
};

/// Shared by all handlers of one daemon.
pub(super) struct Door {
    /// Empty until rows are loaded; set once.
    pub(super) service: Arc<OnceLock<Service>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshot: Arc<dyn Snapshot>,
    pub(super) tasks: Tasks,
    /// Cancelled when the daemon drains.
    pub(super) shutdown: CancellationToken,
    pub(super) limits: ApiLimits,
    pub(super) admission: Admission,
    pub(super) request_ids: RequestIds,
    /// `/openapi.json`, written once.
    pub(super) document: Bytes,
}

/// What `/readyz` and the health service say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Starting,
    Ready,
    Draining,
    /// The service itself says no.
    NotReady,
}

impl Door {
    /// The verbs.
    pub(super) fn service(&self) -> Result<&Service, ApiError> {
        self.service.get().ok_or_else(|| DoorError::Starting.into())
    }

    /// Whether requests should be sent here.
    pub(super) fn readiness(&self) -> Readiness {
        match self.service.get() {
            _ if self.shutdown.is_cancelled() => Readiness::Draining,
            None => Readiness::Starting,
            Some(service) if service.is_leaving() => Readiness::Draining,
            Some(service) if service.is_ready() => Readiness::Ready,
            Some(_) => Readiness::NotReady,
        }
    }

    /// Whether a restart would help: false only when worker threads died.
    pub(super) fn is_alive(&self) -> bool {
        self.service.get().is_none_or(Service::is_alive)
    }
}
