//! Which values of a configuration may be secret, and what stands in their place for those who need not know them.

use serde_json::{Map, Value};

use super::schema;

/// What stands in the place of a secret.
pub(super) const REDACTED: &str = "(secret)";

/// The same for one that stands beside another.
pub(super) const REDACTED_OTHER: &str = "(another secret)";

/// Keys under which everything is secret: what a probe sends and hears, and what flows are hashed by.
const SECRET: [&str; 4] = ["headers", "send", "expect", "seed"];

/// Takes the secrets out of a configuration, or a part of one, and gives them.
///
/// A key of a probe that no probe has may be another one, misspelt, so what it has is secret too.
pub fn redact(value: &mut Value) -> Vec<String> {
    let mut secrets = Vec::new();
    redact_into(value, &mut secrets);
    secrets
}

fn redact_into(value: &mut Value, secrets: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                redact_key(key, value, secrets);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| redact_into(value, secrets)),
        _ => {}
    }
}

fn redact_key(key: &str, value: &mut Value, secrets: &mut Vec<String>) {
    match (key, value) {
        (key, value) if SECRET.contains(&key) => hide(value, secrets),
        // A program, and arguments that may hold a password.
        ("command", Value::Array(command)) => command.iter_mut().skip(1).for_each(|part| hide(part, secrets)),
        ("command", value) => hide(value, secrets),
        ("path", Value::String(path)) => hide_query(path, secrets),
        ("probe", Value::Object(probe)) => redact_probe(probe, secrets),
        (_, value) => redact_into(value, secrets),
    }
}

/// Takes them out of the keys of a probe.
pub(super) fn redact_probe(probe: &mut Map<String, Value>, secrets: &mut Vec<String>) {
    for (key, value) in probe {
        if schema::PROBE.keys.contains(&key.as_str()) {
            redact_key(key, value, secrets);
        } else {
            hide(value, secrets);
        }
    }
}

/// Everything that a value comes to. Its keys stay, as the names of headers do.
fn hide(value: &mut Value, secrets: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(object) => object.values_mut().for_each(|value| hide(value, secrets)),
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, secrets)),
        Value::String(text) => secrets.push(std::mem::replace(text, REDACTED.to_owned())),
        value => secrets.push(std::mem::replace(value, REDACTED.into()).to_string()),
    }
}

fn hide_query(path: &mut String, secrets: &mut Vec<String>) {
    if let Some(at) = path.find('?') {
        secrets.push(path.split_off(at + 1));
        path.push_str(REDACTED);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_and_given_and_their_places_stay() {
        let mut value = json!({
            "name": "web",
            "probe": {
                "type": "http", "path": "/health?key=k1", "headers": {"authorization": "Bearer s3", "x-many": ["a1", 2]},
                "heders": {"cookie": "c4"},
            },
            "backend": [{"name": "b1", "weight": 5}],
        });
        assert_eq!(redact(&mut value), ["Bearer s3", "a1", "2", "c4", "key=k1"]);
        let expected = json!({
            "name": "web",
            "probe": {
                "type": "http", "path": "/health?(secret)",
                "headers": {"authorization": "(secret)", "x-many": ["(secret)", "(secret)"]},
                "heders": {"cookie": "(secret)"},
            },
            "backend": [{"name": "b1", "weight": 5}],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn arguments_payloads_and_the_seed_are_secrets() {
        let mut value = json!({
            "fleet": {"seed": "00ff", "port": 7},
            "service": [
                {"probe": {"command": ["/bin/check", "--password", "p1"]}},
                {"probe": {"command": "/bin/check p2"}},
                {"probe": {"send": "q1", "expect": null}},
            ],
        });
        assert_eq!(redact(&mut value), ["00ff", "--password", "p1", "/bin/check p2", "q1"]);
        assert_eq!(value["service"][0]["probe"]["command"][0], "/bin/check");
        assert_eq!(
            (&value["fleet"]["port"], &value["service"][2]["probe"]["expect"]),
            (&json!(7), &Value::Null)
        );
    }
}
