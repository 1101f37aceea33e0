//! JUnit's XML, as Jenkins, GitLab and GitHub's reporters read it: a suite for each machine, a case for each check.
//!
//! The elements and attributes are those of Jenkins' `junit-10.xsd` and Surefire's schema, which agree on these. XML 1.0 cannot hold
//! most control characters in any form (section 2.2), and consoles are full of them: they become U+FFFD.

use std::fmt::Write;

use crate::{Case, Tried, Verdict};

/// All of them as a document.
#[must_use]
pub fn junit(all: &[Tried]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for tried in all {
        let count = |wanted: &str| tried.cases.iter().filter(|case| case.verdict.word() == wanted).count();
        let name = escape(&format!("{}: {} ({})", tried.target, tried.test, tried.format));
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            tried.cases.len(),
            count("fails"),
            count("error"),
            count("skipped"),
            tried.seconds
        );
        let class = escape(&format!("{}.{}.{}", tried.target, tried.format, tried.test));
        tried.cases.iter().for_each(|case| testcase(&mut out, &class, case));
        let _ = writeln!(out, "    <system-out>{}</system-out>\n  </testsuite>", escape(&tried.console.join("\n")));
    }
    out.push_str("</testsuites>\n");
    out
}

fn testcase(out: &mut String, class: &str, case: &Case) {
    let name = escape(&case.name);
    let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"{:.3}\"", case.seconds);
    let (element, message) = match &case.verdict {
        Verdict::Holds => {
            out.push_str("/>\n");
            return;
        }
        Verdict::Fails(message) => ("failure", message),
        Verdict::Error(message) => ("error", message),
        Verdict::Skipped(message) => ("skipped", message),
    };
    let _ = writeln!(out, ">\n      <{element} message=\"{}\"/>\n    </testcase>", escape(message));
}

/// Text as it may stand in an element and in an attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | ' '..='\u{fffd}' if c != '\u{7f}' => out.push(c),
            '\u{10000}'.. => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::tried;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// What another reader makes of it: `xmllint`, by an XPath.
    fn read(document: &str, xpath: &str) -> String {
        let mut child = Command::new("xmllint")
            .args(["--xpath", xpath, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("libxml2-utils is installed");
        child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{document}");
        String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
    }

    #[test]
    fn another_reader_finds_everything_again() {
        let document = junit(&tried());
        for (xpath, value) in [
            ("count(/testsuites/testsuite)", "2"),
            ("count(//testcase)", "4"),
            ("string(//testsuite[1]/@name)", "web: serves (kernel+initrd)"),
            ("string(//testsuite[2]/@failures)", "1"),
            ("string(//testsuite[2]/@skipped)", "1"),
            ("string(//testsuite[1]/testcase[2]/@name)", "http :80/"),
            ("string(//testsuite[1]/testcase[2]/@time)", "0.100"),
            ("count(//testsuite[1]//failure)", "0"),
            ("string(//failure/@message)", "expected `<b>` & more, saw \u{fffd}[1m\"x\""),
            ("string(//skipped/@message)", "the machine is down"),
            ("starts-with(//testsuite[2]/system-out, 'line 1 <')", "true"),
        ] {
            assert_eq!(read(&document, xpath), value, "{xpath}");
        }
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escape("a\0\u{8}\r\tb\n\u{fffe}é😀\u{7f}"), "a\u{fffd}\u{fffd}\u{fffd}\tb\n\u{fffd}é😀\u{fffd}");
    }
}
