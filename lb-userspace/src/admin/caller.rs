//! Who asks, and what he may.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    access::{Access, Shown},
    browser,
    refused::Failure,
};

/// What somebody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything that changes nothing.
    ReadOnly,
    /// Everything.
    Operator,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// On the Unix socket, which its file mode guards.
    Unix {
        /// Its user.
        uid: u32,
        /// Its process, where the kernel tells.
        pid: Option<i32>,
    },
    /// Over TCP.
    Tcp {
        /// Its address.
        from: SocketAddr,
        /// What its certificate says, where it has shown one.
        shown: Option<Shown>,
        /// What it is measured against.
        access: Arc<Access>,
    },
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// How to call him.
    pub name: String,
    /// What he may; none: nothing but what is open to all.
    pub role: Option<Role>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { pid: Some(pid), .. } => write!(f, "socket, pid {pid}"),
            Self::Unix { pid: None, .. } => f.write_str("socket"),
            Self::Tcp { from, .. } => write!(f, "{from}"),
        }
    }
}

impl Peer {
    /// Who it is that sends such a request.
    ///
    /// # Errors
    ///
    /// Where a token is nobody's, and where a browser was led here by another page.
    pub(super) fn caller(&self, request: &Request) -> Result<Caller, Failure> {
        let (shown, access) = match self {
            Self::Unix { uid, .. } => {
                return Ok(Caller { name: format!("uid {uid}"), role: Some(Role::Operator) });
            }
            Self::Tcp { shown, access, .. } => (shown, access),
        };
        browser::check(request, &access.hosts)?;
        if let Some(token) = bearer(request.headers()) {
            let holder = access.of_token(token?);
            let (name, role) = holder.ok_or_else(|| unauthorized("nobody has this token"))?;
            return Ok(Caller { name: format!("token {name}"), role: Some(role) });
        }
        Ok(match shown {
            Some(shown) => Caller {
                name: format!("certificate {}", shown.name()),
                role: Some(access.of_certificate(shown)),
            },
            None => Caller {
                name: "nobody".to_owned(),
                // On a loopback address, or the configuration would have been refused.
                role: (!access.asks()).then_some(Role::ReadOnly),
            },
        })
    }
}

/// The token of a request, where it has one.
fn bearer(headers: &HeaderMap) -> Option<Result<&str, Failure>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok();
    let token = value.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    Some(token.ok_or_else(|| unauthorized("the header `Authorization` holds no bearer token")))
}

fn unauthorized(error: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, error)
        .remedy("send `Authorization: Bearer TOKEN`, with a token of balancer.api.tokens")
}

/// Lets pass who may read.
pub(super) async fn may_read(request: Request, next: Next) -> Response {
    pass(Role::ReadOnly, request, next).await
}

/// Lets pass who may change something.
pub(super) async fn may_change(request: Request, next: Next) -> Response {
    pass(Role::Operator, request, next).await
}

async fn pass(needed: Role, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    match caller.map(|caller| (caller.role, &caller.name)) {
        Some((Some(role), _)) if role >= needed => next.run(request).await,
        Some((Some(_), name)) => Failure::new(StatusCode::FORBIDDEN, format!("{name} may only read"))
            .remedy("use the Unix socket, or a token or certificate with the role of an operator")
            .into_response(),
        _ => unauthorized("nobody is allowed in without saying who he is").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn token(value: &str) -> Result<String, u16> {
        let request = Request::builder().header("authorization", value).body(Body::empty()).unwrap();
        let token = bearer(request.headers()).unwrap();
        token.map(str::to_owned).map_err(|failure| failure.status().as_u16())
    }

    #[test]
    fn bearer_token_is_read_and_nothing_else() {
        assert_eq!(token("Bearer abc"), Ok("abc".to_owned()));
        assert_eq!(token("bearer  abc "), Ok("abc".to_owned()));
        assert_eq!(token("Basic abc"), Err(401));
        assert_eq!(token("abc"), Err(401));
        assert!(bearer(&HeaderMap::new()).is_none());
    }

    #[test]
    fn operator_may_more_than_who_may_read() {
        assert!(Role::Operator > Role::ReadOnly);
    }
}
