//! Every REST route: its label, its cost, its handler.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing,
};

use super::{
    collections, copies, count, delete, drain, get, grid, health, moves, openapi, scroll, search, upsert,
    verify,
};
use crate::api::{
    admission::Class,
    door::Door,
    error::{ApiError, DoorError},
    guard::{Api, Call},
};

/// A route, as the guard sees it.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Route {
    method: &'static str,
    path: &'static str,
    /// For metrics.
    pub(in crate::api) label: &'static str,
    pub(in crate::api) class: Class,
}

macro_rules! route {
    ($method:literal $path:literal $class:ident) => {
        Route { method: $method, path: $path, label: concat!($method, " ", $path), class: Class::$class }
    };
}

/// The whole surface.
pub(in crate::api) const ROUTES: [Route; 26] = [
    route!("PUT" "/v1/collections/{collection}" Write),
    route!("GET" "/v1/collections/{collection}" Read),
    route!("GET" "/v1/collections" Read),
    route!("DELETE" "/v1/collections/{collection}" Write),
    route!("PUT" "/v1/collections/{collection}/entries/{id}" Write),
    route!("GET" "/v1/collections/{collection}/entries/{id}" Read),
    route!("DELETE" "/v1/collections/{collection}/entries/{id}" Write),
    route!("POST" "/v1/collections/{collection}/entries" Write),
    route!("POST" "/v1/collections/{collection}/delete" Write),
    route!("POST" "/v1/collections/{collection}/search" Read),
    route!("POST" "/v1/collections/{collection}/search/batch" Read),
    route!("POST" "/v1/collections/{collection}/count" Read),
    route!("POST" "/v1/collections/{collection}/scroll" Read),
    route!("GET" "/v1/grid" Read),
    route!("GET" "/v1/grid/members" Read),
    route!("GET" "/v1/grid/partitions" Read),
    route!("GET" "/v1/grid/copies" Read),
    route!("PUT" "/v1/grid/copies" Write),
    route!("GET" "/v1/grid/moves" Read),
    route!("POST" "/v1/grid/drain" Write),
    route!("DELETE" "/v1/grid/drain" Write),
    route!("POST" "/v1/grid/verify" Read),
    route!("GET" "/livez" Exempt),
    route!("GET" "/readyz" Exempt),
    route!("GET" "/metrics" Exempt),
    route!("GET" "/openapi.json" Exempt),
];

/// The route of a method and a matched template.
pub(in crate::api) fn find(method: &str, template: &str) -> Option<&'static Route> {
    const { &ROUTES }.iter().find(|route| route.method == method && route.path == template)
}

/// All of REST.
pub(in crate::api) fn api() -> Router<Arc<Door>> {
    use routing::{get as on_get, post as on_post, put as on_put};
    platform()
        .route("/openapi.json", on_get(openapi::document_route))
        .route("/v1/collections", on_get(collections::list))
        .route(
            "/v1/collections/{collection}",
            on_put(collections::create).get(collections::get).delete(collections::drop),
        )
        .route("/v1/collections/{collection}/entries", on_post(upsert::post))
        .route(
            "/v1/collections/{collection}/entries/{id}",
            on_put(upsert::put).get(get::get).delete(delete::one),
        )
        .route("/v1/collections/{collection}/delete", on_post(delete::many))
        .route("/v1/collections/{collection}/search", on_post(search::one))
        .route("/v1/collections/{collection}/search/batch", on_post(search::batch))
        .route("/v1/collections/{collection}/count", on_post(count::count))
        .route("/v1/collections/{collection}/scroll", on_post(scroll::scroll))
        .route("/v1/grid", on_get(grid::grid))
        .route("/v1/grid/members", on_get(grid::members))
        .route("/v1/grid/partitions", on_get(grid::partitions))
        .route("/v1/grid/copies", on_get(copies::show).put(copies::keep))
        .route("/v1/grid/moves", on_get(moves::moves))
        .route("/v1/grid/drain", on_post(drain::start).delete(drain::cancel))
        .route("/v1/grid/verify", on_post(verify::verify))
}

/// What the platform asks for: also on the admin listener.
pub(in crate::api) fn platform() -> Router<Arc<Door>> {
    Router::new()
        .route("/livez", routing::get(health::livez))
        .route("/readyz", routing::get(health::readyz))
        .route("/metrics", routing::get(health::metrics))
}

/// Nobody is at home there; told in the client's language.
pub(in crate::api) async fn not_found(request: Request) -> Response {
    refuse(&request, DoorError::PathNotFound)
}

/// The path exists, with other methods.
pub(in crate::api) async fn wrong_method(request: Request) -> Response {
    refuse(&request, DoorError::MethodNotAllowed)
}

fn refuse(request: &Request, error: DoorError) -> Response {
    let error = ApiError::from(error);
    match Call::of(request).api {
        Api::Grpc => error.into_grpc_response(),
        Api::Http => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_and_the_table_name_the_same_routes() {
        let document: serde_json::Value = serde_json::from_str(&openapi::document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "put", "post", "delete", "patch"] {
                if item.get(method).is_some() {
                    documented.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
        let table: BTreeSet<String> = ROUTES.iter().map(|route| route.label.to_owned()).collect();
        assert_eq!(documented, table);
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        fn references(value: &serde_json::Value, found: &mut BTreeSet<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    if let Some(reference) = map.get("$ref").and_then(|r| r.as_str()) {
                        found.insert(reference.to_owned());
                    }
                    map.values().for_each(|v| references(v, found));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|v| references(v, found)),
                _ => {}
            }
        }
        let document: serde_json::Value = serde_json::from_str(&openapi::document()).unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
