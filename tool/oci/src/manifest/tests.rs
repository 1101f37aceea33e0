use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{D}","size":2}}"#)
}

fn manifest(config: &str, layer: &str) -> String {
    let (config, layer) = (descriptor(config), descriptor(layer));
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[{layer}]}}"#)
}

#[test]
fn documents_are_what_they_say_or_are_refused_with_a_sentence() {
    let good = manifest(OCI_CONFIG, OCI_LAYER);
    for (what, bytes, media_type, want) in [
        ("schema 1", r#"{"schemaVersion":1,"name":"x"}"#.to_owned(), "", "retired in 2019"),
        ("schema 1 by type", good.clone(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "retired"),
        ("no version", "{}".to_owned(), "", "`schemaVersion` is not 2"),
        ("both", format!(r#"{{"schemaVersion":2,"manifests":[],"config":{}}}"#, descriptor(OCI_CONFIG)), "", "both"),
        ("disagreement", good.clone(), OCI_INDEX, "outside"),
        ("index that is none", r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), OCI_INDEX, "contradict"),
        ("other", good.clone().replace(OCI_MANIFEST, "text/x"), "", "neither an image nor an index"),
        ("artifact", manifest("application/vnd.oci.empty.v1+json", OCI_LAYER), "", "not a container image"),
        (
            "foreign layer",
            manifest(OCI_CONFIG, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            "",
            "cannot be read",
        ),
        ("encrypted", manifest(OCI_CONFIG, &format!("{OCI_LAYER_GZIP}+encrypted")), "", "cannot be read"),
        ("huge layer", good.replace("\"size\":2}]", "\"size\":18446744073709551615}]"), "", "would be"),
        ("huge config", good.replace("\"size\":2},\"layers", "\"size\":99999999},\"layers"), "", "bytes long"),
        ("negative size", good.replace("\"size\":2}]", "\"size\":-1}]"), "", "not an image manifest"),
        ("bad digest", good.replace(D, "sha256:../../x"), "", "not an image manifest"),
        ("not JSON", "<html>".to_owned(), "", "is not a manifest"),
        ("deep JSON", "[".repeat(100_000), "", "is not a manifest"),
        (
            "many layers",
            good.replace("\"layers\":[", &format!("\"layers\":[{}", format!("{},", descriptor(OCI_LAYER)).repeat(600))),
            "",
            "601 layers",
        ),
    ] {
        let error = Document::parse(bytes.as_bytes(), media_type).expect_err(what).to_string();
        assert!(error.contains(want), "{what}: {error}");
    }
    assert!(matches!(Document::parse(good.as_bytes(), OCI_MANIFEST), Ok(Document::Manifest(_))));
    assert!(matches!(Document::parse(good.as_bytes(), "application/json"), Ok(Document::Manifest(_))));
    let null = r#"{"schemaVersion":2,"manifests":null,"annotations":null}"#;
    assert!(matches!(Document::parse(null.as_bytes(), OCI_INDEX), Err(_) | Ok(Document::Index(_))));
}

#[test]
fn an_index_offers_platforms_and_ranks_its_entries() {
    let entry = |os: &str, arch: &str, variant: Option<&str>| Descriptor {
        platform: Some(DescriptorPlatform {
            os: os.into(),
            architecture: arch.into(),
            variant: variant.map(Into::into),
        }),
        ..Descriptor::new(OCI_MANIFEST, D.parse().unwrap(), 2)
    };
    let index = Index {
        schema_version: 2,
        media_type: None,
        manifests: vec![
            entry("linux", "arm", Some("v6")),
            entry("linux", "arm", Some("v7")),
            entry("linux", "amd64", None),
            entry("unknown", "unknown", None),
            Descriptor::new(OCI_INDEX, D.parse().unwrap(), 2),
        ],
    };
    let offers: Vec<_> = index.offers().iter().map(ToString::to_string).collect();
    assert_eq!(offers, ["linux/arm/v6", "linux/arm/v7", "linux/amd64"]);
    let first = |wanted: &str| index.candidates(&wanted.parse().unwrap())[0].platform().map(|p| p.to_string());
    assert_eq!(first("linux/arm/v7").unwrap(), "linux/arm/v7");
    assert_eq!(first("linux/arm").unwrap(), "linux/arm/v6");
    assert_eq!(first("linux/amd64").unwrap(), "linux/amd64");
    assert_eq!(first("linux/s390x"), None, "only the nested index may still hold it");
}

#[test]
fn a_configuration_matches_its_layers_and_scratch_images_parse() {
    let config = |rootfs: &str| format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{rootfs}}}"#);
    let empty = parse_config(config(r#"{"type":"layers"}"#).as_bytes(), 0).unwrap();
    assert_eq!(config_platform(&empty).to_string(), "linux/amd64");
    parse_config(config(r#"{"type":"layers","diff_ids":null}"#).as_bytes(), 0).unwrap();
    let one = config(&format!(r#"{{"type":"layers","diff_ids":["{D}"]}}"#));
    parse_config(one.as_bytes(), 1).unwrap();
    assert!(
        parse_config(one.as_bytes(), 2).unwrap_err().to_string().contains("names 1 unpacked layers, its manifest 2")
    );
    assert!(parse_config(one.replace(D, "md5:1").as_bytes(), 1).is_err());
}

#[test]
fn canonical_json_does_not_depend_on_the_order_of_maps() {
    let one = canonical_json(&serde_json::json!({"b": 1, "a": {"d": 1, "c": [{"z": 1, "y": 2}]}})).unwrap();
    assert_eq!(String::from_utf8(one).unwrap(), r#"{"a":{"c":[{"y":2,"z":1}],"d":1},"b":1}"#);
}
