//! The examples of this repository: they parse, and name the schema that is committed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::desk::{Desk, list};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn examples_name_the_committed_schema_and_fit_it() {
    let desk = Desk::new();
    let schema: serde_json::Value = serde_json::from_str(&desk.ok("schema")).unwrap();
    let committed = std::fs::read_to_string(root().join("docs/spec.schema.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&committed).unwrap(), schema, "docs/spec.schema.json");
    let examples = list(&root().join("examples"));
    for example in examples.iter().filter(|name| name.ends_with(".yml")) {
        let path = root().join("examples").join(example);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=../docs/spec.schema.json\n"), "{example}");
        let json = desk.ok(&format!("--json build --dry-run {}", path.display()));
        let document: serde_json::Value = serde_json::from_str(&json).unwrap();
        fits(&schema, &schema, &document).unwrap_or_else(|at| panic!("{example}: {at}"));
        assert!(document["services"].is_array() && document["kernel"]["image"].is_string(), "{example}");
    }
    // The check can fail.
    let wrong = serde_json::json!({"services": [{"name": "a", "image": "b", "readonly": 7}]});
    assert!(fits(&schema, &schema, &wrong).is_err());
    assert!(fits(&schema, &schema, &serde_json::json!({"kernelx": {}})).is_err());
}

#[test]
fn other_tools_agree_with_the_schema() {
    // Where Python's validator is at hand, it is the judge; `fits` below is ours.
    let python = "import jsonschema, yaml, json, sys\nschema = json.load(open(sys.argv[1]))\njsonschema.Draft7Validator.check_schema(schema)\nfor p in sys.argv[2:]: jsonschema.validate(yaml.safe_load(open(p)), schema)\n";
    if !Command::new("python3").args(["-c", "import jsonschema, yaml"]).output().is_ok_and(|o| o.status.success()) {
        return;
    }
    let examples = list(&root().join("examples"));
    let output = Command::new("python3")
        .args(["-c", python])
        .arg(root().join("docs/spec.schema.json"))
        .args(examples.iter().filter(|n| n.ends_with(".yml")).map(|n| root().join("examples").join(n)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// As much of JSON Schema as our schema's structure uses: references, types, properties, lists, alternatives, words.
fn fits(root: &serde_json::Value, schema: &serde_json::Value, value: &serde_json::Value) -> Result<(), String> {
    if let Some(to) = schema["$ref"].as_str() {
        let target = root.pointer(to.trim_start_matches('#')).ok_or_else(|| format!("{to} leads nowhere"))?;
        fits(root, target, value)?;
    }
    let types: Vec<&str> = match &schema["type"] {
        serde_json::Value::String(one) => vec![one],
        serde_json::Value::Array(many) => many.iter().filter_map(|t| t.as_str()).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return Err(format!("{value} is none of {types:?}"));
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        return Err(format!("{value} is none of {words:?}"));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(ways) = schema[key].as_array().filter(|w| !w.iter().any(|s| fits(root, s, value).is_ok())) {
            return Err(format!("{value} fits none of {ways:?}"));
        }
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(root, part, value)?;
    }
    for element in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
        fits(root, &schema["items"], element)?;
    }
    for (key, element) in value.as_object().into_iter().flatten() {
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(property), _) => fits(root, property, element).map_err(|e| format!("{key}: {e}"))?,
            (None, serde_json::Value::Bool(false)) if !key.starts_with("x-") => return Err(format!("key {key}")),
            (None, other) if other.is_object() => fits(root, other, element)?,
            _ => {}
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(|k| k.as_str()) {
        value.get(key).ok_or_else(|| format!("no {key} in {value}"))?;
    }
    Ok(())
}
