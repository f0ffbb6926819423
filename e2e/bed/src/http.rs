//! A small HTTP client for servers of the bed on loopback.

use anyhow::{Context, Result, bail};
use axum::body::{Body, to_bytes};
use hyper::http::{Method, Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An answer longer than this is a mistake: the call log of a long night has some megabytes.
const LONGEST_ANSWER: usize = 256 << 20;

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
    client: Client<HttpConnector, Body>,
}

impl Http {
    /// A client for `http://host:port`.
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').into(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends `body` as JSON and reads the answer as JSON.
    pub async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        let body = body.map(serde_json::to_vec).transpose().context("could not write the request as JSON")?.unwrap_or_default();
        let (status, text) = self.send(method.clone(), path, &[("content-type", "application/json")], body).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {text}");
        }
        // An empty answer reads as null, so that callers who want nothing ask for `()`.
        let text = if text.trim().is_empty() { "null" } else { &text };
        serde_json::from_str(text).with_context(|| format!("{method} {path} answered {}", text.chars().take(300).collect::<String>()))
    }

    /// Sends anything and gives back the status and the text.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<(u16, String)> {
        let mut request = Request::builder().method(method.clone()).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header(header::ACCEPT, "*/*").body(Body::from(body)).with_context(|| format!("bad request {path}"))?;
        let answer = self.client.request(request).await.with_context(|| format!("{method} {}{path}", self.base))?;
        let status = answer.status().as_u16();
        let bytes = to_bytes(Body::new(answer.into_body()), LONGEST_ANSWER)
            .await
            .with_context(|| format!("{method} {path}: the answer broke off"))?;
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }
}
