//! Many checks of one build, side by side: one that fails does not hide what the others have to say.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::place;

/// What failed so far.
#[derive(Debug, Default)]
pub struct Checks {
    failed: Mutex<Vec<String>>,
}

impl Checks {
    /// Makes a check.
    pub fn make(&self, what: &str, check: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.push(format!("{what}: {}", message(&*panic)));
        }
    }

    /// Makes the same check of each of these, as many at a time as there may be machines.
    pub fn make_each<T: Debug + Sync>(&self, all: &[T], check: impl Fn(&T) + Sync) {
        let rows = Mutex::new(all.iter());
        let next = || rows.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            for _ in 0..place::GUESTS {
                scope.spawn(|| {
                    while let Some(row) = next() {
                        self.make(&format!("{row:?}"), || check(row));
                    }
                });
            }
        });
    }

    /// Fails if one of them did.
    #[track_caller]
    pub fn end(self) {
        let failed = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert!(failed.is_empty(), "{} of all failed:\n{}", failed.len(), failed.join("\n"));
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("?"), String::as_str)
}
