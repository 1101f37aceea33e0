//! `WWW-Authenticate` (RFC 9110 section 11.6.1): which schemes a registry accepts, and their parameters.

use std::collections::BTreeMap;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token from a token server (`distribution/spec/auth/token`).
    Bearer {
        /// URL of the token server.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What to ask for, where the registry says so.
        scope: Option<String>,
    },
    /// User name and password with every request.
    Basic,
}

impl Challenge {
    /// The best challenge of a header's values: bearer before basic, others unknown.
    #[must_use]
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for (scheme, mut parameters) in headers.into_iter().flat_map(challenges) {
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => {
                    if let Some(realm) = parameters.remove("realm").filter(|r| !r.is_empty()) {
                        let mut take = |name| parameters.remove(name).filter(|v: &String| !v.is_empty());
                        return Some(Self::Bearer { realm, service: take("service"), scope: take("scope") });
                    }
                }
                "basic" => basic = Some(Self::Basic),
                _ => {}
            }
        }
        basic
    }
}

/// Splits a header into schemes and parameters. Commas separate both challenges and parameters, so a word that is not
/// followed by `=` starts the next challenge.
fn challenges(header: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut out: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        if end == 0 {
            // A stray `=` or the end.
            match rest.strip_prefix('=') {
                Some(tail) => rest = tail,
                None => return out,
            }
            continue;
        }
        let (word, tail) = rest.split_at(end);
        let after = tail.trim_start_matches([' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let (value, tail) = parameter(value.trim_start_matches([' ', '\t']));
            if let Some((_, parameters)) = out.last_mut() {
                parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            }
            rest = tail;
        } else {
            out.push((word.to_owned(), BTreeMap::new()));
            rest = tail;
        }
    }
}

fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_real_registries_and_nonsense() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(Into::into),
                scope: scope.map(Into::into),
            })
        };
        for (headers, want) in [
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull,push""#,
                ],
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/redis:pull,push"),
                ),
            ),
            (vec![r#"Basic realm="Registry Realm""#], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (vec!["Negotiate", r#"BASIC realm=x"#], Some(Challenge::Basic)),
            (vec![r#"Basic realm="a, b", bearer realm = "https://t" , scope=x"#], bearer("https://t", None, Some("x"))),
            (vec![r#"Bearer realm="a\"b""#], bearer("a\"b", None, None)),
            (vec![r#"Bearer realm="unterminated"#], bearer("unterminated", None, None)),
            (vec!["Bearer", "Bearer realm=\"\""], None),
            (vec!["", ",,,", "===", "a=b", "Digest nonce=1"], None),
        ] {
            assert_eq!(Challenge::parse(headers.iter().copied()), want, "{headers:?}");
        }
    }
}
