//! Access control: requests must name this server, come from its own pages, and have the token if there is one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// Scripts and connections of this server only; plotly sets inline styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For a report, whose scripts are a part of it: it may neither load nor send anything.
pub(crate) const REPORT_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The rules.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    address: SocketAddr,
    token: Option<blake3::Hash>,
}

impl Access {
    pub fn new(address: SocketAddr, token: Option<&str>) -> Self {
        Self { address, token: token.map(|token| blake3::hash(token.as_bytes())) }
    }

    /// Whether a Host header names this server. To prevent DNS rebinding, only addresses on which the server listens and
    /// `localhost` are accepted.
    fn is_own(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(':') && (!name.contains(':') || name.ends_with(']')) => {
                (name, port.parse().ok())
            }
            _ => (host, Some(80)),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let known = match bare.parse::<IpAddr>() {
            Ok(ip) if self.address.ip().is_unspecified() => !ip.is_unspecified(),
            Ok(ip) => ip == self.address.ip(),
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    && (self.address.ip().is_loopback() || self.address.ip().is_unspecified())
            }
        };
        known && port == Some(self.address.port())
    }

    /// The reason to refuse a request.
    fn refusal(&self, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(HOST).unwrap_or_default();
        if !self.is_own(host) || headers.get_all(HOST).iter().count() != 1 {
            return Some("the Host header does not name this server");
        }
        // Every one of them, should there be several.
        let is_own = |origin: &HeaderValue| {
            origin.to_str().ok().and_then(|of| of.strip_prefix("http://")) == Some(host)
        };
        if !headers.get_all(ORIGIN).iter().all(is_own) {
            return Some("requests from other sites are refused");
        }
        let from = text(HeaderName::from_static("sec-fetch-site"));
        let followed = *method == Method::GET
            && text(HeaderName::from_static("sec-fetch-mode")).is_some_and(|mode| mode == "navigate");
        // Other sites may link here, but may not load anything.
        if from.is_some_and(|from| !["same-origin", "none"].contains(&from)) && !followed {
            return Some("requests from other sites are refused");
        }
        None
    }

    /// The name of the cookie, which contains the port because cookies do not distinguish ports.
    fn cookie(&self) -> String {
        format!("bptt-{}", self.address.port())
    }

    /// Whether a request has the token. Hashes are compared in constant time.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else { return true };
        let bearer =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let cookie = self.cookie();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let given = cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == cookie)
            .map(|(_, value)| value);
        given.chain(bearer).any(|given| blake3::hash(given.as_bytes()) == token)
    }

    /// For an address with the right token: a redirect to the address without it, with the token as a cookie.
    fn enter(&self, request: &Request) -> Option<Response> {
        let token = self.token?;
        let pairs = request.uri().query()?.split('&');
        let (given, others): (Vec<&str>, Vec<&str>) = pairs.partition(|pair| pair.starts_with("token="));
        let given = given.first()?.strip_prefix("token=")?;
        if *request.method() != Method::GET || blake3::hash(given.as_bytes()) != token {
            return None;
        }
        let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        // Two leading slashes would name another host.
        let path = request.uri().path().trim_start_matches('/');
        let cookie = format!("{}={given}; HttpOnly; SameSite=Strict; Path=/", self.cookie());
        let headers = [(LOCATION, format!("/{path}{query}")), (SET_COOKIE, cookie)];
        Some((StatusCode::SEE_OTHER, headers).into_response())
    }
}

/// Refuses requests without access, and adds security headers to every answer.
pub(crate) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = if let Some(why) = access.refusal(request.method(), request.headers()) {
        Problem::new(StatusCode::FORBIDDEN, why).into_response()
    } else if let Some(entered) = access.enter(&request) {
        entered
    } else if access.knows(request.headers()) {
        next.run(request).await
    } else {
        Problem::new(StatusCode::UNAUTHORIZED, "a token is required: ?token=…").into_response()
    };
    let headers = response.headers_mut();
    // A report has a policy of its own.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The answer to unknown paths.
pub(crate) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(address: &str) -> Access {
        Access::new(address.parse().unwrap(), None)
    }

    #[test]
    fn only_its_own_names_are_its_own() {
        let local = access("127.0.0.1:8377");
        for host in ["127.0.0.1:8377", "localhost:8377", "LocalHost:8377"] {
            assert!(local.is_own(host), "{host}");
        }
        let foreign = [
            "",
            "127.0.0.1",
            "127.0.0.1:80",
            "evil.example:8377",
            "127.0.0.1.evil.example:8377",
            "localhost.evil.example:8377",
            "10.0.0.1:8377",
            "[::1]:8377",
            "127.0.0.1:8377:8377",
            "localhost:8377@evil",
            "localhost:99999",
            "0.0.0.0:8377",
        ];
        for host in foreign {
            assert!(!local.is_own(host), "{host}");
        }
        assert!(access("[::1]:8377").is_own("[::1]:8377"));
        let open = access("0.0.0.0:80");
        assert!(open.is_own("10.1.2.3") && open.is_own("10.1.2.3:80") && !open.is_own("evil.example"));
    }
}
