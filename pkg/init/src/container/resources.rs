//! `linux.resources`, made for cgroup v2 where the library does not do it.
//!
//! OCI's keys are those of cgroup v1. The library turns most of them into files of v2; it refuses some that v2 has no
//! counterpart for, which the builder has warned about, and it miscounts weights of block devices (16 bits are not enough).

use serde_json::{Map, Value, json};

/// Adapts the limits. `has` says whether the cgroup has a file. Sentences about what this kernel cannot do.
pub fn adapt(resources: &mut Map<String, Value>, has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut troubles = Vec::new();
    if let Some(Value::Object(cpu)) = resources.get_mut("cpu") {
        cpu.remove("realtimeRuntime");
        cpu.remove("realtimePeriod");
    }
    let Some(Value::Object(block)) = resources.get_mut("blockIO") else { return troubles };
    block.remove("leafWeight");
    // BFQ has v1's weights, also for single devices.
    if has("io.bfq.weight") {
        return troubles;
    }
    if block.remove("weightDevice").is_some_and(|list| list.as_array().is_some_and(|list| !list.is_empty())) {
        troubles.push("`blockIO.weightDevice` has no effect: this kernel has no BFQ scheduler".to_owned());
    }
    let Some(weight) = block.remove("weight").and_then(|weight| weight.as_u64()).filter(|weight| *weight > 0) else {
        return troubles;
    };
    if !has("io.weight") {
        troubles.push("`blockIO.weight` has no effect: this kernel has no weights for block devices".to_owned());
        return troubles;
    }
    let weight = json!(v2_weight(weight).to_string());
    if let Some(Value::Object(unified)) = resources.get_mut("unified") {
        unified.entry("io.weight").or_insert(weight);
    } else {
        resources.insert("unified".to_owned(), json!({"io.weight": weight}));
    }
    troubles
}

/// From v1's 10 to 1000 to v2's 1 to 10000, as runc counts.
fn v2_weight(weight: u64) -> u64 {
    1 + weight.clamp(10, 1000).saturating_sub(10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(resources: Value, files: &[&str]) -> (Value, usize) {
        let mut resources: Map<String, Value> = serde_json::from_value(resources).unwrap();
        let troubles = adapt(&mut resources, |file| files.contains(&file));
        (Value::Object(resources), troubles.len())
    }

    #[test]
    fn what_v2_has_no_counterpart_for_is_left_out() {
        let (resources, troubles) = adapted(
            json!({
                "cpu": {"shares": 2, "realtimeRuntime": 1, "realtimePeriod": 1},
                "blockIO": {"leafWeight": 10, "weightDevice": [], "throttleReadBpsDevice": [1]},
                "memory": {"limit": 5},
            }),
            &[],
        );
        let expected = json!({
            "cpu": {"shares": 2}, "blockIO": {"throttleReadBpsDevice": [1]}, "memory": {"limit": 5},
        });
        assert_eq!((resources, troubles), (expected, 0));
    }

    /// The library multiplies in 16 bits: 500 became 4, and a build with checks aborted.
    #[test]
    fn weights_of_block_devices_are_what_the_kernel_has() {
        let given = || json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}});
        assert_eq!(adapted(given(), &["io.bfq.weight", "io.weight"]), (given(), 0));
        assert_eq!(
            adapted(given(), &["io.weight"]),
            (json!({"blockIO": {}, "unified": {"io.weight": "4950"}}), 1),
            "no weights of single devices"
        );
        assert_eq!(adapted(given(), &[]), (json!({"blockIO": {}}), 2));
        let own = json!({"blockIO": {"weight": 10}, "unified": {"io.weight": "7"}});
        assert_eq!(adapted(own, &["io.weight"]), (json!({"blockIO": {}, "unified": {"io.weight": "7"}}), 0));
        assert_eq!([10, 11, 1000].map(v2_weight), [1, 11, 10000]);
    }

    #[test]
    fn nonsense_is_left_to_the_library() {
        for nonsense in [json!({"cpu": 1, "blockIO": []}), json!({"blockIO": {"weight": "x", "weightDevice": 5}})] {
            adapted(nonsense, &["io.weight"]);
        }
    }
}
