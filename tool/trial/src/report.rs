//! Trials for people, as they finish, and for scripts, at the end.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{Case, Tried, Verdict};

/// Lines of a console that people get to see.
const LAST_WORDS: usize = 15;

impl Tried {
    /// A line for people; what failed, and the last words of a machine that died, below it. With `details`, all cases.
    #[must_use]
    pub fn text(&self, details: bool) -> String {
        let accelerator = self.accelerator.map(|accelerator| format!(", {accelerator}")).unwrap_or_default();
        let title = format!("{}: {} ({}{accelerator})", self.target, self.test, self.format);
        let (word, count) = match self.failures() {
            0 if self.holds() => ("ok  ", format!("{} checks", self.cases.len())),
            0 => ("skip", "not finished".to_owned()),
            failures => ("FAIL", format!("{failures} of {} checks do not hold", self.cases.len())),
        };
        let mut out = format!("{word} {title}: {count}, {:.1} s\n", self.seconds);
        for Case { name, verdict, seconds } in &self.cases {
            let told = match verdict {
                Verdict::Fails(message) | Verdict::Error(message) => format!("FAIL {name}: {message}"),
                _ if !details => continue,
                Verdict::Holds => format!("ok   {name}, {seconds:.1} s"),
                Verdict::Skipped(why) => format!("skip {name}: {why}"),
            };
            let _ = writeln!(out, "     {told}");
        }
        if self.died {
            let begin = self.console.len().saturating_sub(LAST_WORDS);
            for line in &self.console[begin..] {
                let _ = writeln!(out, "       | {line}");
            }
        }
        out
    }

    fn document(&self) -> Value {
        let case = |case: &Case| {
            let mut value = json!({"name": case.name, "verdict": case.verdict.word(), "seconds": round(case.seconds)});
            if let Some(message) = case.verdict.message() {
                value["message"] = message.into();
            }
            value
        };
        let mut value = json!({
            "target": self.target,
            "test": self.test,
            "format": self.format,
            "accelerator": self.accelerator.map(|accelerator| accelerator.to_string()),
            "holds": self.holds(),
            "seconds": round(self.seconds),
            "checks": self.cases.iter().map(case).collect::<Vec<_>>(),
        });
        if !self.holds() {
            value["console"] = json!(self.console);
        }
        value
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// All of them as JSON.
#[must_use]
pub fn document(all: &[Tried]) -> Value {
    json!({"holds": all.iter().all(Tried::holds), "machines": all.iter().map(Tried::document).collect::<Vec<_>>()})
}

/// All of them in a line.
#[must_use]
pub fn summary(all: &[Tried]) -> String {
    let failed = all.iter().filter(|tried| !tried.holds()).count();
    let cases: usize = all.iter().map(|tried| tried.cases.len()).sum();
    let failures: usize = all.iter().map(Tried::failures).sum();
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (machines, checks) = (plural(all.len(), "machine"), plural(cases, "check"));
    match failed {
        0 => format!("{machines}, {checks}: all hold"),
        _ => format!("{machines}, {checks}: {} failed, {} do not hold", plural(failed, "machine"), failures),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bootwright_machine::Accelerator;

    pub(crate) fn tried() -> Vec<Tried> {
        let case = |name: &str, verdict, seconds| Case { name: name.into(), verdict, seconds };
        let good = Tried {
            target: "web".into(),
            test: "serves".into(),
            format: "kernel+initrd".into(),
            accelerator: Some(Accelerator::Tcg),
            cases: vec![case("boots", Verdict::Holds, 3.2), case("http :80/", Verdict::Holds, 0.1004)],
            seconds: 4.0,
            console: vec!["Linux".into()],
            died: false,
        };
        let fails = Verdict::Fails("expected `<b>` & more, saw \u{1b}[1m\"x\"".into());
        let skipped = Verdict::Skipped("the machine is down".into());
        let bad = Tried {
            target: "db".into(),
            format: "iso".into(),
            cases: vec![case("boots", fails, 1.0), case("tcp :1", skipped, 0.0)],
            console: (1..=20).map(|n| format!("line {n} <\u{1b}[0m>")).collect(),
            died: true,
            ..good.clone()
        };
        vec![good, bad]
    }

    #[test]
    fn people_get_a_line_and_what_failed() {
        let [good, bad] = &tried()[..] else { panic!("there are two") };
        assert_eq!(good.text(false), "ok   web: serves (kernel+initrd, tcg): 2 checks, 4.0 s\n");
        let details = "     ok   boots, 3.2 s\n     ok   http :80/, 0.1 s\n";
        assert_eq!(good.text(true), good.text(false) + details);
        let text = bad.text(false);
        let first = "FAIL db: serves (iso, tcg): 1 of 2 checks do not hold, 4.0 s\n     FAIL boots: expected `<b>`";
        assert!(text.starts_with(first) && !text.contains("tcp :1") && !text.contains("line 5 "), "{text}");
        assert!(text.contains("       | line 6 ") && text.ends_with("line 20 <\u{1b}[0m>\n"), "{text}");
        assert!(bad.text(true).contains("     skip tcp :1: the machine is down\n"));
    }

    #[test]
    fn all_of_them_are_summed_up() {
        let all = tried();
        assert_eq!(summary(&all), "2 machines, 4 checks: 1 machine failed, 1 do not hold");
        assert_eq!(summary(&all[..1]), "1 machine, 2 checks: all hold");
        let document = document(&all);
        assert_eq!((&document["holds"], &document["machines"][0]["holds"]), (&json!(false), &json!(true)));
        assert_eq!(
            document["machines"][0]["checks"][1],
            json!({"name": "http :80/", "verdict": "holds", "seconds": 0.1})
        );
        assert!(document["machines"][0]["console"].is_null());
        assert_eq!(document["machines"][1]["checks"][1]["message"], "the machine is down");
    }
}
