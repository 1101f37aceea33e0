//! Trials: machines that are booted to see whether what their spec's `tests:` say of them holds.
//!
//! A [`Trial`] is one machine and what must hold, planned before anything is booted. [`run`] boots as many at a time as the host
//! has room for, and each comes to a [`Tried`]: a [`Case`] for every check, that it came up and that it powered off among them.
//! What was seen is judged by pure functions (`verdict`), and so is what people ([`Tried::text`]), scripts ([`document`]) and
//! CI systems ([`junit`]) get to see. Checks inside go through the machine's control channel, checks from outside through
//! ports that are published on free ports of loopback.

mod case;
mod channel;
mod drive;
mod interrupts;
mod junit;
mod plan;
mod pool;
mod probe;
mod report;
mod verdict;

pub use case::{Case, Tried, Verdict};
pub use junit::junit;
pub use plan::Trial;
pub use pool::{Settings, Watch, run};
pub use report::{document, summary};
