//! The JSON Schema (draft 7, which editors know best) made from the table of keys.

use serde_json::{Map, Value as Json, json};

use crate::keys::{Key, Kind, SPEC, Shape};
use crate::values;

/// Where the schema of the current version lies.
const ID: &str = "https://github.com/bootwright/bootwright/schema/spec.json";

/// The JSON Schema of a spec.
#[must_use]
pub fn schema() -> Json {
    let mut definitions = Map::new();
    let root = reference(&SPEC, &mut definitions);
    definitions.sort_keys();
    let Some(Json::Object(spec)) = definitions.shift_remove(SPEC.name) else { return root };
    let mut schema = Map::new();
    schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("$id".into(), ID.into());
    schema.insert("title".into(), "bootwright spec".into());
    schema.extend(spec);
    schema.insert("definitions".into(), Json::Object(definitions));
    Json::Object(schema)
}

/// A reference to a shape, which is put into the definitions if it is not there.
fn reference(shape: &'static Shape, definitions: &mut Map<String, Json>) -> Json {
    if !definitions.contains_key(shape.name) {
        definitions.insert(shape.name.to_owned(), Json::Null);
        let object = object(shape, definitions);
        definitions.insert(shape.name.to_owned(), object);
    }
    json!({ "$ref": format!("#/definitions/{}", shape.name) })
}

fn object(shape: &'static Shape, definitions: &mut Map<String, Json>) -> Json {
    let mut properties = Map::new();
    for key in shape.all() {
        properties.insert(key.name.to_owned(), property(key, definitions));
        let lower = key.name.to_ascii_lowercase();
        if shape.any_case && lower != key.name {
            properties.insert(lower, property(key, definitions));
        }
    }
    let mut object = json!({
        "description": plain(shape.doc),
        "type": "object",
        "properties": properties,
        "patternProperties": { "^x-": {} },
        "additionalProperties": false,
    });
    // A key that may be spelt in two ways cannot be required by one name.
    let required: Vec<_> =
        shape.all().filter(|key| key.required).map(|key| (key.name, key.name.to_ascii_lowercase())).collect();
    if !required.is_empty() {
        if shape.any_case {
            let both =
                |(name, lower): &(&str, String)| json!({ "anyOf": [{ "required": [name] }, { "required": [lower] }] });
            object["allOf"] = required.iter().map(both).collect();
        } else {
            object["required"] = required.iter().map(|(name, _)| *name).collect();
        }
    }
    object
}

fn property(key: &'static Key, definitions: &mut Map<String, Json>) -> Json {
    let mut value = value(&key.kind, definitions);
    let mut property = Map::new();
    property.insert("title".into(), key.name.into());
    let mut description = plain(key.doc);
    if !key.default.is_empty() {
        description.push_str(&format!("\nDefault: {}", plain(key.default)));
    }
    if let Some(why) = key.ignored {
        description.push_str(&format!("\nIgnored: {why}."));
        property.insert("deprecated".into(), true.into());
    }
    property.insert("description".into(), description.into());
    // Beside a `$ref`, draft 7 ignores everything else: the reference goes one level down.
    if key.nullable {
        match value.get_mut("type") {
            Some(Json::Array(types)) => types.push("null".into()),
            Some(one) => *one = json!([one.take(), "null"]),
            None => value = json!({ "anyOf": [value, { "type": "null" }] }),
        }
    }
    if value.get("$ref").is_some() {
        property.insert("allOf".into(), json!([value]));
    } else if let Json::Object(value) = value {
        property.extend(value);
    }
    Json::Object(property)
}

fn value(kind: &'static Kind, definitions: &mut Map<String, Json>) -> Json {
    match kind {
        Kind::Text(format) => match (format.words(), format.pattern()) {
            (Some(words), _) => json!({ "enum": words }),
            (None, Some(pattern)) => json!({ "type": ["string", "number", "boolean"], "pattern": pattern }),
            (None, None) => json!({ "type": ["string", "number", "boolean"] }),
        },
        Kind::Word(words) => one_of(words),
        Kind::WordOr(words, shape) => json!({ "anyOf": [one_of(words), reference(shape, definitions)] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer(min, max) => {
            let mut integer = json!({ "type": "integer" });
            if *min != i64::MIN {
                integer["minimum"] = (*min).into();
            }
            if *max != i64::MAX {
                integer["maximum"] = (*max).into();
            }
            integer
        }
        Kind::Id => json!({ "type": ["integer", "string"], "minimum": 0, "maximum": u32::MAX - 1 }),
        Kind::Mode => json!({ "type": ["string", "integer"], "pattern": "^(0o)?[0-7]{1,5}$" }),
        Kind::List(kind) => json!({ "type": "array", "items": value(kind, definitions) }),
        Kind::OneOrMore(kind) => {
            let one = value(kind, definitions);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Kind::Map(shape) => reference(shape, definitions),
        Kind::Table(kind) => json!({ "type": "object", "additionalProperties": value(kind, definitions) }),
    }
}

fn one_of(words: &[(&str, &str)]) -> Json {
    let enumeration: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let descriptions: Vec<_> = words.iter().map(|(_, meaning)| *meaning).collect();
    json!({ "enum": enumeration, "enumDescriptions": descriptions })
}

/// Help without its Markdown, for editors that show it as it is.
fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}

/// What the documentation calls a value.
pub(crate) fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Text(format) => format.name().to_owned(),
        Kind::Word(words) => words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::WordOr(words, shape) => format!("{}, or {}", describe(&Kind::Word(words)), describe(&Kind::Map(shape))),
        Kind::Flag => "boolean".to_owned(),
        Kind::Integer(i64::MIN, i64::MAX) | Kind::Integer(0, i64::MAX) => "whole number".to_owned(),
        Kind::Integer(min, max) => format!("whole number, {}", values::range(*min, *max)),
        Kind::Id => "number or name".to_owned(),
        Kind::Mode => "octal permission bits".to_owned(),
        Kind::List(kind) => format!("list: {}", describe(kind)),
        Kind::OneOrMore(kind) => format!("{}, or list of it", describe(kind)),
        Kind::Map(shape) => format!("[{}](#{})", shape.name, shape.name.to_lowercase()),
        Kind::Table(kind) => format!("map: name → {}", describe(kind)),
    }
}
