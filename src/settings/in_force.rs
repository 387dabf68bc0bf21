//! The settings in force, as `vicar check` prints them: every default filled in, no secret shown.

use serde_json::{Map, Value};

use super::{Settings, text::MASK};

/// Words in a header's name that make its value a secret, wherever it is written.
const SECRET_WORDS: [&str; 9] = ["key", "token", "secret", "auth", "password", "passwd", "cookie", "credential", "signature"];

impl Settings {
    /// The settings with every default filled in. What came from a reference is shown as the reference, the password
    /// of a URL and a header value that is plainly a secret as `***`; what is not set is left out. But for masked
    /// values, a settings file with this in it has the same effect.
    #[must_use]
    pub fn in_force(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        drop_nulls(&mut value);
        if let Some(headers) = value.pointer_mut("/upstream/headers").and_then(Value::as_object_mut) {
            mask(headers);
        }
        value
    }

    /// The same as a YAML document.
    #[must_use]
    pub fn in_force_yaml(&self) -> String {
        serde_yaml::to_string(&self.in_force()).unwrap_or_default()
    }
}

/// Whether a header of this name carries a secret, by the look of it.
pub(super) fn is_secret(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn mask(headers: &mut Map<String, Value>) {
    for (name, value) in headers {
        if is_secret(name) && value.as_str().is_some_and(|text| !text.contains("${")) {
            *value = MASK.into();
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
