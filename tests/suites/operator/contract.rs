//! The `OpenAPI` document, as the contract that every answer of the suite is held to.
//!
//! `schemas/openapi-3.1.json` is the specification's own schema of such documents, of 2022-10-07. What is said here of the
//! document is said by it and by a validator that has nothing to do with the code that writes the document.

use std::{collections::HashSet, fs, process::Command, sync::LazyLock};

use jsonschema::{Validator, draft202012};
use serde_json::{Map, Value, json};

use crate::{
    curl::{Reply, TCP},
    site::Site,
};

static SPECIFICATION: &str = include_str!("schemas/openapi-3.1.json");
static TEXT: &str = include_str!("../../../docs/openapi.json");
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(TEXT).unwrap());

/// Fails where an answer is none that the document has for such a request. What is not in there is not looked at: the web
/// page, and the document itself.
pub(crate) fn check(arguments: &[&str], reply: &Reply) {
    let method = method(arguments);
    let Some(path) = arguments.iter().find_map(|argument| path_of(argument)) else { return };
    let Some((template, item)) = item(path) else { return };
    if reply.status == 0 {
        return;
    }
    let what = format!("{method} {template}: {reply:?}");
    let Some(operation) = item.get(&method) else {
        return assert_eq!(reply.status, 405, "not in the document: {what}");
    };
    let response = operation["responses"].get(reply.status.to_string());
    let response =
        resolved(response.unwrap_or_else(|| panic!("a status that is not in the document: {what}")));
    let Some(contents) = response.get("content").and_then(Value::as_object) else { return };
    let kind = reply.kind.split(';').next().unwrap_or_default();
    let content = contents.iter().find(|(name, _)| name.split(';').next() == Some(kind));
    let (_, content) =
        content.unwrap_or_else(|| panic!("a content type that is not in the document: {what}"));
    if kind == "application/json" {
        let wrong: Vec<_> =
            validator(&content["schema"]).iter_errors(&reply.body).map(|e| e.to_string()).collect();
        assert_eq!(wrong, Vec::<String>::new(), "not as in the document: {what}");
    }
}

/// The method that curl sends.
fn method(arguments: &[&str]) -> String {
    let after = arguments.iter().skip_while(|argument| **argument != "--request").nth(1);
    let has_body = arguments.iter().any(|argument| argument.starts_with("--data"));
    after.map_or_else(|| if has_body { "post" } else { "get" }.to_owned(), |method| method.to_lowercase())
}

/// The path of a URL that is an argument.
fn path_of(argument: &str) -> Option<&str> {
    let (_, rest) = argument.strip_prefix("http")?.split_once("://")?;
    let path = &rest[rest.find('/')?..];
    Some(path.split('?').next().unwrap_or(path))
}

/// What the document has for a path, by the template that fits.
fn item(path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let mut parts = template.split('/').zip(path.split('/'));
        template.split('/').count() == path.split('/').count()
            && parts.all(|(expected, part)| expected.starts_with('{') || expected == part)
    };
    paths.iter().find(|(template, _)| fits(template)).map(|(template, item)| (template.as_str(), item))
}

/// What it refers to, where it is a reference.
fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// Validates by a schema of the document, which refers to others of its components.
fn validator(schema: &Value) -> Validator {
    draft202012::new(&json!({ "components": DOCUMENT["components"], "allOf": [schema] })).unwrap()
}

/// Calls `visit` with every object of `value`.
fn every_object<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| every_object(value, visit));
        }
        Value::Array(values) => values.iter().for_each(|value| every_object(value, visit)),
        _ => {}
    }
}

#[test]
fn document_is_what_the_specification_says_it_should_be() {
    let specification = draft202012::new(&serde_json::from_str(SPECIFICATION).unwrap()).unwrap();
    let wrong: Vec<_> =
        specification.iter_errors(&DOCUMENT).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(wrong, Vec::<String>::new());
    let mut broken = DOCUMENT.clone();
    broken["paths"]["/ready"]["get"]["responses"]["200"]["descriptoin"] = broken["info"]["title"].take();
    assert!(specification.iter_errors(&broken).count() >= 2, "it would tell");
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        assert!(draft202012::meta::is_valid(schema), "{name}");
    }
}

/// What the specification says in words.
#[test]
fn references_parameters_and_names_of_the_document_go_together() {
    every_object(&DOCUMENT, &mut |object| {
        if let Some(Value::String(reference)) = object.get("$ref") {
            assert!(DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
    });
    let mut names = HashSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "two are called {name}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = |parameter: &&Value| parameter["in"] == "path" && parameter["required"] == true;
            let declared: HashSet<_> = parameters
                .iter()
                .filter(in_path)
                .map(|p| format!("{{{}}}", p["name"].as_str().unwrap()))
                .collect();
            let used: HashSet<_> =
                path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
            assert_eq!(declared, used, "{method} {path}");
        }
    }
}

#[test]
fn daemon_serves_the_document_of_the_documentation() {
    let mut site = Site::new();
    let listen = TCP.trim_start_matches("http://");
    site.change("\n[fleet]\n", &format!("\n[balancer.api]\nlisten = \"{listen}\"\n\n[fleet]\n"));
    let _daemon = site.start(&["--detach"]);
    let mut curl = Command::new("curl");
    let served = site.command(curl.args(["--silent", "--fail", &format!("{TCP}/openapi.json")])).stdout;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    assert!(served == fs::read_to_string(path).unwrap(), "{served}");
}
