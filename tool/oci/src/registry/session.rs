//! A conversation with one endpoint: its scheme, the authorization that it wants, and redirects.
//!
//! The first request is `GET /v2/`, which tells scheme and challenge once instead of once per thread. Credentials are
//! looked up only when a registry asks for them, and go only to it and to the token server that it names; a redirect
//! to another origin never carries them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ureq::Body;
use ureq::http::{Method, Response};

use super::credentials::{CredentialError, Credentials, Secret};
use super::http::{Call, Failure, Http, Payload, detail, header, join, origin_of, read_bounded, shown, status_error};
use super::mirror::{Endpoint, is_loopback};
use super::{Challenge, RegistryError};

const REDIRECTS_MAX: usize = 10;
/// A registry that does not even greet is soon given up: there may be others, and many images to come.
const HELLO_RETRIES: u32 = 2;
const TOKEN_ANSWER_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) http: Arc<Http>,
    name: String,
    authority: String,
    base: String,
    config: Option<PathBuf>,
    credentials: OnceLock<Result<Credentials, CredentialError>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: BTreeMap<String, Secret>,
}

/// What a request is about: decides the token and is named in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) repository: &'a str,
    pub(crate) push: bool,
}

impl Purpose<'_> {
    fn scope(&self) -> String {
        format!("repository:{}:{}", self.repository, if self.push { "pull,push" } else { "pull" })
    }
}

impl Session {
    /// Says hello.
    pub(crate) fn connect(
        http: Arc<Http>,
        endpoint: &Endpoint,
        config: Option<PathBuf>,
    ) -> Result<Self, RegistryError> {
        let mut session = Self {
            http,
            name: endpoint.to_string(),
            authority: endpoint.authority.clone(),
            base: String::new(),
            config,
            credentials: OnceLock::new(),
            state: Mutex::default(),
        };
        let at = |scheme: &str| format!("{scheme}://{}{}", endpoint.authority, endpoint.path);
        if endpoint.scheme.is_none() {
            // A registry on loopback may or may not speak TLS; trying it first shows no secret to the wrong one.
            session.base = at("https");
            match session.hello() {
                Ok(challenge) => {
                    session.state = Mutex::new(State { challenge, ..State::default() });
                    return Ok(session);
                }
                // It speaks TLS, so it is not to be asked without.
                Err(Failure::Final(error @ RegistryError::Transport { .. })) if error.is_distrust() => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        session.base = at(endpoint.scheme.unwrap_or("http"));
        let challenge = session.http.with_at_most(HELLO_RETRIES, |_| session.hello())?;
        session.state = Mutex::new(State { challenge, ..State::default() });
        Ok(session)
    }

    fn hello(&self) -> Result<Option<Challenge>, Failure> {
        let url = format!("{}/", self.base);
        let call = Call { method: Method::GET, url: &url, headers: &[], authorization: None, payload: Payload::None };
        let response = self.http.send(&call)?;
        Ok(if response.status() == 401 { challenge(&response) } else { None })
    }

    /// What the endpoint is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL of a path below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Sends a request with the authorization that it needs, following redirects. Any answer but 401, 403 and "come back
    /// later" is the caller's.
    pub(crate) fn request(
        &self,
        purpose: Purpose,
        method: &Method,
        url: &str,
        headers: &[(&'static str, String)],
        payload: Payload,
    ) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        let mut refreshed = false;
        for _ in 0..=REDIRECTS_MAX {
            let ours = self.is_ours(&url);
            let authorization = if ours { self.authorization(purpose)? } else { None };
            let call = Call { method: method.clone(), url: &url, headers, authorization, payload };
            let response = self.http.send(&call)?;
            match response.status().as_u16() {
                401 if ours && !refreshed => {
                    // The token has run out, or this repository wants another one than `/v2/` said.
                    refreshed = true;
                    self.refresh(purpose, &response, call.authorization.is_some())?;
                }
                401 | 403 if ours => {
                    let detail = detail(response, call.authorization.as_ref());
                    return Err(self.unauthorized(purpose, detail).into());
                }
                301 | 302 | 303 | 307 | 308 if matches!(*method, Method::GET | Method::HEAD) => {
                    let target = header(&response, "location").and_then(|location| join(&url, location));
                    let Some(target) = target else {
                        let rule = "redirects without saying where to".to_owned();
                        return Err(RegistryError::Answer { url: shown(&url), rule }.into());
                    };
                    if url.starts_with("https:") && !target.starts_with("https:") {
                        let rule = format!("redirects to `{}`, which is not encrypted", shown(&target));
                        return Err(RegistryError::Answer { url: shown(&url), rule }.into());
                    }
                    url = target;
                }
                _ => return Ok(response),
            }
        }
        let rule = format!("redirects more than {REDIRECTS_MAX} times");
        Err(RegistryError::Answer { url: shown(&url), rule }.into())
    }

    fn is_ours(&self, url: &str) -> bool {
        origin_of(url) == origin_of(&self.base)
    }

    fn credentials(&self) -> Result<&Credentials, RegistryError> {
        let find = || Credentials::find(self.config.as_deref(), &self.authority);
        self.credentials.get_or_init(find).as_ref().map_err(|e| e.clone().into())
    }

    fn unauthorized(&self, purpose: Purpose, detail: String) -> RegistryError {
        let used = match self.credentials() {
            Ok(Credentials::Anonymous) => "none are configured for it".to_owned(),
            Ok(_) => "those of Docker's config.json were refused".to_owned(),
            Err(error) => error.to_string(),
        };
        let (endpoint, repository) = (self.name.clone(), purpose.repository.to_owned());
        RegistryError::Unauthorized { endpoint, repository, used, detail }
    }

    /// The `Authorization` for a purpose, as far as the endpoint has asked for one.
    fn authorization(&self, purpose: Purpose) -> Result<Option<Secret>, Failure> {
        let scope = purpose.scope();
        let challenge = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = state.tokens.get(&scope) {
                return Ok(Some(token.clone()));
            }
            state.challenge.clone()
        };
        let secret = match challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => match self.credentials()? {
                Credentials::Basic(secret) => Secret::new(format!("Basic {}", secret.expose())),
                _ => return Ok(None),
            },
            Some(Challenge::Bearer { realm, service, .. }) => {
                let token = self.token(purpose, &realm, service.as_deref(), &scope)?;
                Secret::new(format!("Bearer {}", token.expose()))
            }
        };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tokens.insert(scope, secret.clone());
        Ok(Some(secret))
    }

    fn refresh(&self, purpose: Purpose, response: &Response<Body>, had_one: bool) -> Result<(), Failure> {
        let scope = purpose.scope();
        let found = challenge(response);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tokens.remove(&scope);
        let basic_again = had_one && found == Some(Challenge::Basic);
        if found.is_none() || basic_again {
            drop(state);
            return Err(self.unauthorized(purpose, String::new()).into());
        }
        state.challenge.clone_from(&found);
        drop(state);
        // The registry may know the repository under another name (a proxy's), so what it asks for counts.
        if let Some(Challenge::Bearer { realm, service, scope: Some(asked) }) = found {
            let token = self.token(purpose, &realm, service.as_deref(), &asked)?;
            let secret = Secret::new(format!("Bearer {}", token.expose()));
            self.state.lock().unwrap_or_else(PoisonError::into_inner).tokens.insert(scope, secret);
        }
        Ok(())
    }

    /// Asks the token server.
    fn token(&self, purpose: Purpose, realm: &str, service: Option<&str>, scope: &str) -> Result<Secret, Failure> {
        let refuse = |rule: &str| RegistryError::Answer { url: self.base.clone(), rule: rule.to_owned() };
        match origin_of(realm) {
            Some(("https", authority)) if !authority.contains('@') => {}
            Some(("http", authority)) if self.base.starts_with("http:") && !authority.contains('@') => {
                if is_loopback(&self.authority) && !is_loopback(authority) {
                    return Err(refuse("names a token server on another machine that is not encrypted").into());
                }
            }
            _ => return Err(refuse("names a token server that is not encrypted").into()),
        }
        let mut query = vec![("scope", scope)];
        query.extend(service.map(|service| ("service", service)));
        let credentials = self.credentials()?;
        let form;
        let url;
        let call = match credentials {
            Credentials::Identity(token) => {
                query.extend([("grant_type", "refresh_token"), ("client_id", "bootwright")]);
                query.push(("refresh_token", token.expose()));
                form = encode(&query);
                Call {
                    method: Method::POST,
                    url: realm,
                    headers: &[("Content-Type", "application/x-www-form-urlencoded".to_owned())],
                    authorization: None,
                    payload: Payload::Bytes(form.as_bytes()),
                }
            }
            other => {
                let separator = if realm.contains('?') { '&' } else { '?' };
                url = format!("{realm}{separator}{}", encode(&query));
                let authorization = match other {
                    Credentials::Basic(secret) => Some(Secret::new(format!("Basic {}", secret.expose()))),
                    _ => None,
                };
                Call { method: Method::GET, url: &url, headers: &[], authorization, payload: Payload::None }
            }
        };
        let response = self.http.send(&call)?;
        match response.status().as_u16() {
            200 => {}
            400 | 401 | 403 => {
                let detail = detail(response, call.authorization.as_ref());
                return Err(self.unauthorized(purpose, detail).into());
            }
            _ => return Err(status_error(&call, response).into()),
        }
        let bytes = read_bounded(call.url, response, TOKEN_ANSWER_MAX)?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = ["token", "access_token"].iter().find_map(|key| value[*key].as_str().filter(|t| !t.is_empty()));
        match token {
            Some(token) if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(Secret::new(token)),
            _ => Err(RegistryError::Answer { url: shown(realm), rule: "sends no token".to_owned() }.into()),
        }
    }
}

fn challenge(response: &Response<Body>) -> Option<Challenge> {
    let values = response.headers().get_all("www-authenticate");
    Challenge::parse(values.iter().filter_map(|v| v.to_str().ok()))
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}
