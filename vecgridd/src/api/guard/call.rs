//! Which call a request is: a label for metrics from a closed list, and what it costs.

use axum::extract::{MatchedPath, Request};
use http::Method;

use crate::api::{admission::Class, grpc, http::routes};

/// Which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Api {
    Grpc,
    Http,
}

impl Api {
    pub(in crate::api) fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Call {
    /// How failures are told: by what the client speaks.
    pub(in crate::api) api: Api,
    /// A route template or a gRPC method; never what the client made up.
    pub(in crate::api) label: &'static str,
    pub(in crate::api) class: Class,
    /// The route is one of gRPC, whatever the client speaks.
    pub(in crate::api) wants_grpc: bool,
}

impl Call {
    /// Needs the matched path, so it works only behind routing.
    pub(in crate::api) fn of(request: &Request) -> Self {
        let api =
            if super::content_type(request).starts_with("application/grpc") { Api::Grpc } else { Api::Http };
        let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let unmatched = Self { api, label: "unmatched", class: Class::Exempt, wants_grpc: false };
        let Some(template) = template else { return unmatched };
        if let Some(prefix) = template.strip_suffix("{*rest}") {
            let method = request.uri().path().strip_prefix(prefix).unwrap_or_default();
            let (label, class) = grpc::classify(prefix, method).unwrap_or((unmatched.label, unmatched.class));
            // A REST client on a gRPC path is refused by the guard, which spares exempt calls.
            let class = if api == Api::Grpc { class } else { Class::Read };
            return Self { api, label, class, wants_grpc: true };
        }
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        match routes::find(method.as_str(), template) {
            Some(route) => Self { api: Api::Http, label: route.label, class: route.class, wants_grpc: false },
            None => unmatched,
        }
    }
}
