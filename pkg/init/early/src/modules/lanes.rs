//! Work done side by side, on as many threads as there are processors: none of them is left when it is done.
//!
//! What must keep its order is one lane; lanes have none among each other. A thread that cannot be had is done without.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Threads at most: what is loaded has few pieces.
const MOST: usize = 8;

/// Does the work for each item of all lanes.
pub fn each<T: Send, R: Send>(lanes: impl Iterator<Item = Vec<T>> + Send, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let lanes = Mutex::new(lanes.filter(|lane| !lane.is_empty()).peekable());
    let done = Mutex::new(Vec::new());
    let next = || lanes.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        while let Some(lane) = next() {
            for item in lane {
                let result = work(&item);
                done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
    thread::scope(|scope| {
        for _ in 1..processors {
            if lanes.lock().unwrap_or_else(PoisonError::into_inner).peek().is_none()
                || thread::Builder::new().spawn_scoped(scope, worker).is_err()
            {
                break;
            }
        }
        worker();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_and_lanes_keep_their_order() {
        let lanes = (0..20).map(|lane| (0..lane).map(|item| (lane, item)).collect());
        let done = each(lanes, |item| *item);
        assert_eq!(done.len(), 190);
        for lane in 0..20 {
            assert!(done.iter().filter(|(l, _)| *l == lane).map(|(_, item)| *item).eq(0..lane), "{done:?}");
        }
    }
}
