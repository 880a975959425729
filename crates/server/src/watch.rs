//! A listener of its own for whoever watches the server: `/metrics`, `/healthz` and `/readyz`, and nothing else. It
//! serves no content and asks nobody who they are: it belongs on loopback, or behind something that asks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::server::Server;

/// Connections at once; where one more comes, the oldest gives way, so that whoever holds all of them hides nothing.
const CONNECTIONS_MAX: usize = 16;

/// Longest time until a server that is alive says so.
const ALIVE_MAX: Duration = Duration::from_secs(5);

/// Longest time for a connection, which is for one request.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 * 1_024;

/// How long accepting rests when the process has run out of something.
const EXHAUSTED_REST: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers until it is dropped.
pub(crate) async fn expose(listener: TcpListener, server: Arc<Server>) {
    let mut connections = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                let conversing = tokio::spawn(async move {
                    let _ = timeout(CONNECTION_MAX, converse(stream, &server)).await;
                });
                connections.retain(|open: &AbortOnDropHandle<()>| !open.is_finished());
                if connections.len() == CONNECTIONS_MAX {
                    connections.pop_front();
                }
                connections.push_back(AbortOnDropHandle::new(conversing));
            }
            Err(error) => {
                tracing::debug!("the metrics' listener: {error}");
                sleep(EXHAUSTED_REST).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, server: &Server) {
    let answering = service_fn(async |request| Ok::<_, Infallible>(answer(&request, server).await));
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answering)
        .await;
    if let Err(error) = served {
        tracing::debug!("the metrics' listener: {error}");
    }
}

async fn answer(request: &Request<Incoming>, server: &Server) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => match server.metrics.scrape(&server.gauges()) {
            Ok(metrics) => response(StatusCode::OK, OPEN_METRICS, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
        },
        "/healthz" => match timeout(ALIVE_MAX, server.is_alive()).await {
            Ok(true) => text(StatusCode::OK, "alive\n"),
            _ => text(StatusCode::SERVICE_UNAVAILABLE, "no connections are taken\n"),
        },
        "/readyz" if server.shutdown.is_draining() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        }
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, TEXT, text)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use towline_net::tls::identity::Identity;
    use towline_net::tls::server::Acceptor;

    use super::*;
    use crate::config::Config;
    use crate::shutdown::Shutdown;

    /// A server of nothing.
    fn server() -> Arc<Server> {
        let folder = tempfile::tempdir().unwrap();
        let tls = Arc::new(Acceptor::new(Identity::ephemeral().unwrap()).unwrap());
        let config = Config::new(folder.path(), tls);
        Arc::new(Server::new(&config, Shutdown::default()).unwrap())
    }

    /// The first line of the answer about a server's health.
    async fn health(server: &Arc<Server>) -> String {
        health_behind(0, server).await
    }

    /// The same, asked for when so many others have connected and say nothing.
    async fn health_behind(silent: usize, server: &Arc<Server>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut others = Vec::new();
        for _ in 0..silent {
            others.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::select! {
            () = expose(listener, Arc::clone(server)) => panic!("it ended"),
            read = stream.read_to_string(&mut answer) => drop(read.unwrap()),
        }
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_for_its_health_learns_in_time_that_no_connections_are_taken() {
        let server = server();
        let mut accept_loop = server.pulse.join();
        let unhealthy = "HTTP/1.1 503 Service Unavailable";
        // It stands still.
        let both = tokio::join!(health(&server), health(&server));
        assert_eq!((both.0.as_str(), both.1.as_str()), (unhealthy, unhealthy));
        let both = async { tokio::join!(health(&server), health(&server)) };
        let both = tokio::select! {
            both = both => both,
            never = accept_loop.give() => match never {},
        };
        assert_eq!((both.0.as_str(), both.1.as_str()), ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"));
        drop(accept_loop);
        assert_eq!(health(&server).await, unhealthy);
        server.shutdown.drain();
        assert_eq!(health(&server).await, "HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn connections_that_ask_for_nothing_keep_nobody_from_asking_for_its_health() {
        let server = server();
        server.shutdown.drain();
        let asking = health_behind(4 * CONNECTIONS_MAX, &server);
        let answer = timeout(CONNECTION_MAX / 2, asking).await;
        assert_eq!(answer.as_deref(), Ok("HTTP/1.1 200 OK"));
    }
}
