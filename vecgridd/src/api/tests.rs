//! The doors while the daemon starts: everything that is decided before a service is there.

use std::sync::{Arc, OnceLock};

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    ApiConfig, ApiLimits,
    admission::Admission,
    door::Door,
    guard::RequestIds,
    http::{openapi, routes},
    server::Routers,
};
use crate::{
    task::Tasks,
    telemetry::{Metrics, Snapshot},
};

struct Nothing;

impl Snapshot for Nothing {
    fn refresh(&self, _: &Metrics) {}
}

fn door() -> Arc<Door> {
    let limits = ApiLimits::default();
    Arc::new(Door {
        service: Arc::new(OnceLock::new()),
        metrics: Arc::new(Metrics::new("0", "test").unwrap()),
        snapshot: Arc::new(Nothing),
        tasks: Tasks::default(),
        shutdown: CancellationToken::new(),
        admission: Admission::new(&limits),
        request_ids: RequestIds::new(),
        limits,
        document: openapi::document().into(),
    })
}

fn tcp() -> Router {
    let config = ApiConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        socket: None,
        admin_listen: None,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        limits: ApiLimits::default(),
    };
    Routers::new(&door(), &config).unwrap().tcp
}

async fn send(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:5700");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn code(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_answers_starting_until_the_service_is_there() {
    let router = tcp();
    for route in &routes::ROUTES {
        let (method, path) = route.label.split_once(' ').unwrap();
        let path = path.replace("{collection}", "c").replace("{id}", "i");
        let (status, headers, body) = send(&router, method, &path, &[]).await;
        match path.as_str() {
            "/livez" | "/metrics" | "/openapi.json" => assert_eq!(status, StatusCode::OK, "{path}"),
            "/readyz" => assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "starting\n")),
            _ => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{}", route.label);
                assert_eq!(code(&body), "starting", "{}", route.label);
                assert_eq!(headers["retry-after"], "1");
            }
        }
    }
}

#[tokio::test]
async fn nobody_at_home_is_a_problem_and_not_a_grpc_answer() {
    let router = tcp();
    for path in [
        "/",
        "/v1",
        "/v1/collections/",
        "/v1/collections/c/entries/",
        "/v1/collections/c/entries/a/b",
        "/x.Y/Z",
    ] {
        let (status, headers, body) = send(&router, "GET", path, &[]).await;
        assert_eq!((status, code(&body).as_str()), (StatusCode::NOT_FOUND, "path_not_found"), "{path}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    let (status, headers, body) = send(&router, "PATCH", "/v1/collections/c", &[]).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    let allow = headers["allow"].to_str().unwrap();
    assert!(["PUT", "GET", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
    // A person with curl on a gRPC path.
    for path in ["/vecgrid.v1.VecGrid/Search", "/vecgrid.v1.VecGrid/Nonsense", "/grpc.health.v1.Health/Check"]
    {
        let (status, _, body) = send(&router, "POST", path, &[("content-type", "application/json")]).await;
        assert_eq!(
            (status, code(&body).as_str()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
        );
    }
}

#[tokio::test]
async fn a_grpc_client_gets_grpc_answers() {
    let router = tcp();
    let grpc = ("content-type", "application/grpc");
    let cases = [
        ("/vecgrid.v1.VecGrid/Search", "14"),
        ("/vecgrid.v1.VecGrid/UpsertStream", "14"),
        ("/vecgrid.v1.VecGrid/Nonsense", "12"),
        ("/other.Service/Method", "12"),
    ];
    for (path, want) in cases {
        let (status, headers, _) = send(&router, "POST", path, &[grpc]).await;
        assert_eq!((status, headers["grpc-status"].to_str().unwrap()), (StatusCode::OK, want), "{path}");
    }
    let (_, headers, _) =
        send(&router, "POST", "/vecgrid.v1.VecGrid/Search", &[grpc, ("origin", "https://evil.example")])
            .await;
    assert_eq!(headers["grpc-status"], "7");
    let (_, headers, _) =
        send(&router, "POST", "/vecgrid.v1.VecGrid/Search", &[grpc, ("grpc-timeout", "soon")]).await;
    assert_eq!(headers["grpc-status"], "3");
}

#[tokio::test]
async fn what_the_guard_refuses() {
    let router = tcp();
    let refused = |path: &'static str, header: (&'static str, &'static str)| {
        let router = router.clone();
        async move {
            let (status, _, body) = send(&router, "GET", path, &[header]).await;
            (status.as_u16(), code(&body))
        }
    };
    assert_eq!(
        refused("/livez", ("origin", "https://evil.example")).await,
        (403, "origin_refused".to_owned())
    );
    assert_eq!(refused("http://evil.example/livez", ("a", "b")).await, (403, "host_refused".to_owned()));
    assert_eq!(refused("/v1/grid?x=1", ("a", "b")).await, (400, "unknown_parameter".to_owned()));
    assert_eq!(refused("/v1/grid", ("x-request-timeout-ms", "0")).await, (400, "invalid_timeout".to_owned()));
}

#[tokio::test]
async fn a_request_id_is_repeated_or_made() {
    let router = tcp();
    let (_, headers, _) = send(&router, "GET", "/livez", &[("x-request-id", "abc-1")]).await;
    assert_eq!(headers["x-request-id"], "abc-1");
    let (_, headers, _) = send(&router, "GET", "/nowhere", &[]).await;
    assert_eq!(headers["x-request-id"].len(), 32);
    let long = "x".repeat(1000);
    let (_, headers, _) = send(&router, "GET", "/livez", &[("x-request-id", &long)]).await;
    assert_eq!(headers["x-request-id"].len(), 32);
}

#[tokio::test]
async fn metrics_have_bounded_labels() {
    let router = tcp();
    send(&router, "GET", "/v1/collections/secret-name", &[]).await;
    send(&router, "GET", "/made/up", &[]).await;
    send(&router, "BREW", "/v1/grid", &[]).await;
    let (_, headers, text) = send(&router, "GET", "/metrics", &[]).await;
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert!(text.contains(
        r#"vecgrid_requests_total{api="http",code="503",method="GET /v1/collections/{collection}"} 1"#
    ));
    assert!(text.contains(r#"vecgrid_requests_total{api="http",code="404",method="unmatched"} 1"#));
    assert!(text.contains(r#"vecgrid_requests_total{api="http",code="405",method="unmatched"} 1"#));
    assert!(!text.contains("secret-name") && !text.contains("made"));
    assert!(text.contains("vecgrid_requests_in_flight 1"), "the scrape itself");
}
