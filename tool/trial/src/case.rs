//! What came of a trial: a case for each thing that had to hold.

use bootwright_machine::Accelerator;

use crate::Trial;

/// What came of something that had to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not, and what was seen instead.
    Fails(String),
    /// It could not be tried, for a reason that lies with this host.
    Error(String),
    /// It was not tried, because of what came before.
    Skipped(String),
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails(_) => "fails",
            Self::Error(_) => "error",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What there is to say about it.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Holds => None,
            Self::Fails(message) | Self::Error(message) | Self::Skipped(message) => Some(message),
        }
    }
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Fails, |()| Self::Holds)
    }
}

/// Something that had to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// How long that took.
    pub seconds: f64,
}

/// A trial that was made.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What was built.
    pub target: String,
    /// The test.
    pub test: String,
    /// What was booted.
    pub format: String,
    /// What it ran under; none if it never ran.
    pub accelerator: Option<Accelerator>,
    /// Its cases, in order.
    pub cases: Vec<Case>,
    /// How long it all took.
    pub seconds: f64,
    /// The last lines of the console.
    pub console: Vec<String>,
    /// Whether the machine did not come up, died or did not end well, so that its last words are of interest.
    pub died: bool,
}

impl Tried {
    /// Of which nothing is known yet.
    pub(crate) fn new(trial: &Trial) -> Self {
        Self {
            target: trial.target.clone(),
            test: trial.test.clone(),
            format: trial.format.clone(),
            accelerator: None,
            cases: Vec::new(),
            seconds: 0.0,
            console: Vec::new(),
            died: false,
        }
    }

    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.cases.iter().all(|case| case.verdict == Verdict::Holds)
    }

    /// Whether this host is to blame for something.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.cases.iter().any(|case| matches!(case.verdict, Verdict::Error(_)))
    }

    /// How many cases fail, those that were not tried for other reasons left out.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, Verdict::Fails(_) | Verdict::Error(_))).count()
    }
}
