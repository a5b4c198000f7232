//! What is wrong with the shape of the configuration file: serde's message, in the words of who
//! writes such a file.

/// A key that is at most this unlike the one that was written may have been meant; it is clap's
/// measure for options.
const NEAR: f64 = 0.7;

/// The message as it is said, in one line.
pub fn explained(message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    if let Some(unknown) = message.strip_prefix("unknown field ") {
        return unknown_key(unknown);
    }
    // Tables in double brackets, of which serde would make one out of their values.
    if message.starts_with("invalid length ")
        && let Some((_, table)) = message.split_once("expected ")
        && !table.contains("[[")
    {
        return format!("expected {table}, in single brackets and once");
    }
    // At their places, since what was written is quoted in between.
    if let Some(missing) = message.strip_prefix("missing field") {
        return format!("missing key{missing}");
    }
    match message.strip_suffix("expected a sequence") {
        Some(before) => format!("{before}expected a list, or [[tables]] in double brackets"),
        None => message,
    }
}

/// Of "`key`, expected one of `known`, `known`", the nearest key, or all where none is near.
fn unknown_key(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<_> = names.collect();
    // Who leaves a part of a key out means that key.
    let part = |key: &str| unknown.len() > 3 && key.contains(unknown);
    let likeness = |key: &&str| if part(key) { 1.0 } else { strsim::jaro(unknown, key) };
    let nearest = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|key| likeness(key) > NEAR) {
        Some(key) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
        None => format!("unknown key `{unknown}`; keys here are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "expected one of `core_mask`, `placement`, `max_connections`";

    #[test]
    fn the_nearest_key_is_asked_for() {
        for (written, meant) in [
            ("core_msk", "core_mask"),
            ("mask", "core_mask"),
            ("coremask", "core_mask"),
            ("placment", "placement"),
            ("max-connections", "max_connections"),
            ("connections", "max_connections"),
        ] {
            let text = explained(&format!("unknown field `{written}`, {KNOWN}"));
            assert_eq!(text, format!("unknown key `{written}`; did you mean `{meant}`?"));
        }
    }

    #[test]
    fn where_none_is_near_all_are_told() {
        let text = explained(&format!("unknown field `xyz`, {KNOWN}"));
        assert_eq!(text, "unknown key `xyz`; keys here are core_mask, placement, max_connections");
    }

    #[test]
    fn other_messages_are_one_line_in_the_words_of_toml() {
        assert_eq!(explained("missing field `service`"), "missing key `service`");
        let text = explained("invalid length 1, expected a table [socket]");
        assert_eq!(text, "expected a table [socket], in single brackets and once");
        let text = explained("invalid length 1, expected a table [[listen]]");
        assert_eq!(text, "invalid length 1, expected a table [[listen]]");
        let quoted = "invalid type: string \"missing field\", expected a number";
        assert_eq!(explained(quoted), quoted);
        let text = explained("invalid type: integer `5`, expected a sequence");
        assert!(text.ends_with("expected a list, or [[tables]] in double brackets"), "{text}");
        assert_eq!(explained("broken\nexpected `=`"), "broken, expected `=`");
    }
}
