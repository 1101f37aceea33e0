//! Fragments of a kernel's configuration: lines `CONFIG_X=value` that lie over `make tinyconfig`, and what Kconfig made of
//! them.
//!
//! Kconfig drops without a word what it does not know and what lacks a dependency, and turns on what something else
//! selects. So every request is compared with the finished `.config`, and each that was refused is named with its place.

use std::collections::BTreeMap;
use std::fmt;

/// One line of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `CONFIG_X`.
    pub symbol: String,
    /// As written after the `=`: `y`, `m`, `n`, a number, a text in quotes.
    pub value: String,
    /// The fragment.
    pub file: String,
    /// The line in it, counted from 1.
    pub line: usize,
}

/// A request that Kconfig did not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was asked for.
    pub request: Request,
    /// What the finished configuration says: `n` where it says nothing.
    pub got: String,
}

/// A line that is neither a comment nor a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{file}` line {line} is not of the form `CONFIG_NAME=value`: `{text}`")]
pub struct FragmentError {
    /// The fragment.
    pub file: String,
    /// The line in it, counted from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request: Request { symbol, value, file, line }, got } = self;
        write!(f, "{file}:{line}: wanted {symbol}={value}, got {got}")
    }
}

/// Reads a fragment. `# CONFIG_X is not set`, as Kconfig writes it, is a request too.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Request>, FragmentError> {
    let mut out = Vec::new();
    for (written, line) in text.lines().zip(1..) {
        let trimmed = written.trim();
        let found = match setting(trimmed) {
            Some(found) => found,
            None if trimmed.is_empty() || trimmed.starts_with('#') => continue,
            None => return Err(FragmentError { file: file.to_owned(), line, text: trimmed.to_owned() }),
        };
        let (symbol, value) = found;
        out.push(Request { symbol: symbol.to_owned(), value: value.to_owned(), file: file.to_owned(), line });
    }
    Ok(out)
}

/// The last request for each symbol, in the order in which they stand: of two members of a choice the later one wins.
pub(crate) fn effective(requests: Vec<Request>) -> Vec<Request> {
    let last: BTreeMap<String, usize> = requests.iter().enumerate().map(|(n, r)| (r.symbol.clone(), n)).collect();
    requests.into_iter().enumerate().filter(|(n, r)| last.get(&r.symbol) == Some(n)).map(|(_, r)| r).collect()
}

/// The requests as Kconfig reads them.
pub(crate) fn lines(requests: &[Request]) -> String {
    requests.iter().map(|r| format!("{}={}\n", r.symbol, r.value)).collect()
}

/// The requests that a finished `.config` does not grant.
pub(crate) fn refused(requests: &[Request], config: &str) -> Vec<Refused> {
    let granted: BTreeMap<&str, &str> = config.lines().filter_map(setting).collect();
    let got = |request: &Request| granted.get(request.symbol.as_str()).copied().unwrap_or("n");
    let denied = requests.iter().filter(|r| got(r) != r.value);
    denied.map(|r| Refused { request: r.clone(), got: got(r).to_owned() }).collect()
}

/// Whether a finished `.config` has something on, in the kernel or as a module.
pub(crate) fn is_on(config: &str, symbol: &str) -> bool {
    config.lines().filter_map(setting).any(|(s, v)| s == symbol && matches!(v, "y" | "m"))
}

/// Symbol and value of a line, if it has them.
fn setting(line: &str) -> Option<(&str, &str)> {
    let named = |symbol: &&str| {
        symbol
            .strip_prefix("CONFIG_")
            .is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
    };
    if let Some(symbol) = line.strip_prefix("# ").and_then(|l| l.strip_suffix(" is not set")) {
        return Some(symbol).filter(named).map(|symbol| (symbol, "n"));
    }
    let (symbol, value) = line.split_once('=')?;
    Some((symbol, value)).filter(|(symbol, value)| named(symbol) && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_that_was_refused_is_named_with_its_place() {
        let first = "# base\nCONFIG_A=y\nCONFIG_B=y\n\nCONFIG_C=\"x\"\nCONFIG_D=n\n";
        let second = "CONFIG_B=n\nCONFIG_E=m\n# CONFIG_F is not set\nCONFIG_G=8\n";
        let mut all = parse("first.config", first).unwrap();
        all.extend(parse("second.config", second).unwrap());
        let all = effective(all);
        assert_eq!(
            lines(&all),
            "CONFIG_A=y\nCONFIG_C=\"x\"\nCONFIG_D=n\nCONFIG_B=n\nCONFIG_E=m\nCONFIG_F=n\nCONFIG_G=8\n"
        );
        let granted = "CONFIG_A=y\nCONFIG_C=\"x\"\n# CONFIG_B is not set\nCONFIG_E=m\nCONFIG_G=8\n";
        assert_eq!(refused(&all, granted), []);
        let other = "CONFIG_C=\"y\"\nCONFIG_D=m\nCONFIG_B=y\nCONFIG_E=y\nCONFIG_F=y\nCONFIG_G=4\n";
        let said: Vec<String> = refused(&all, other).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "first.config:2: wanted CONFIG_A=y, got n",
                "first.config:5: wanted CONFIG_C=\"x\", got \"y\"",
                "first.config:6: wanted CONFIG_D=n, got m",
                "second.config:1: wanted CONFIG_B=n, got y",
                "second.config:2: wanted CONFIG_E=m, got y",
                "second.config:3: wanted CONFIG_F=n, got y",
                "second.config:4: wanted CONFIG_G=8, got 4",
            ]
        );
        assert!(is_on(other, "CONFIG_D") && is_on(other, "CONFIG_B") && !is_on(granted, "CONFIG_B"));
    }

    #[test]
    fn lines_of_another_form_are_refused_not_skipped() {
        for bad in ["VIRTIO_BLK=y", "CONFIG_VIRTIO_BLK", "CONFIG_VIRTIO_BLK=", "CONFIG_=y", "CONFIG_A-B=y", "y"] {
            let text = format!("# fine\n{bad}\n");
            let error = parse("a.config", &text).unwrap_err();
            assert_eq!((error.line, error.text.as_str()), (2, bad));
        }
    }
}
