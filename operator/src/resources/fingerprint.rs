//! Hashes by which two states of an object are told apart.

use std::fmt::Write as _;

use serde_json::Value;

/// 64 bits of a text, in hexadecimal (FNV-1a).
pub(crate) fn of_text(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// 64 bits of a value, whatever the order of its keys.
pub(super) fn of_value(value: &Value) -> String {
    let mut text = String::new();
    write_sorted(value, &mut text);
    of_text(&text)
}

fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                write!(out, "{key:?}:").expect("a string takes all");
                write_sorted(&map[key], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_sorted(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => write!(out, "{scalar}").expect("a string takes all"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{of_text, of_value};

    #[test]
    fn texts_have_known_hashes() {
        assert_eq!(of_text(""), "cbf29ce484222325");
        assert_eq!(of_text("murder"), of_text("murder"));
        assert_ne!(of_text("murder"), of_text("murdeR"));
    }

    #[test]
    fn order_of_keys_does_not_matter_and_order_of_items_does() {
        let one = serde_json::from_str(r#"{"a": {"x": 1, "y": 2}, "b": [1, 2]}"#).unwrap();
        let two = serde_json::from_str(r#"{"b": [1, 2], "a": {"y": 2, "x": 1}}"#).unwrap();
        assert_eq!(of_value(&one), of_value(&two));
        assert_ne!(of_value(&json!([1, 2])), of_value(&json!([2, 1])));
        assert_ne!(of_value(&json!({"a": "1"})), of_value(&json!({"a": 1})));
        assert_ne!(
            of_value(&json!({"a": [1], "b": []})),
            of_value(&json!({"a": [], "b": [1]}))
        );
    }
}
