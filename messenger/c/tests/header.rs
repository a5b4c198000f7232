//! vmsgr.h is written by hand: it says what the code says.

use std::collections::BTreeSet;
use std::path::Path;

/// What a header declares, each as a line, whatever its comments and line ends.
fn declarations(header: &str) -> BTreeSet<String> {
    let mut text = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        text.push_str(before);
        rest = comment.split_once("*/").expect("comments end").1;
    }
    text.push_str(rest);
    let (mut declarations, mut depth, mut current) = (BTreeSet::new(), 0, String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("#define VMSGR_") && line.split(' ').count() == 3 {
            declarations.insert(line.to_owned());
        }
        if line.starts_with('#') || line.starts_with("extern \"C\"") {
            continue;
        }
        for letter in line.chars() {
            current.push(letter);
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ';' if depth == 0 => {
                    declarations.insert(normal(&std::mem::take(&mut current)));
                }
                _ => {}
            }
        }
        current.push(' ');
    }
    declarations
}

/// With one space between words, and none at punctuation.
fn normal(declaration: &str) -> String {
    let mut text = declaration.replace("pieces[2]", "*pieces");
    for sign in ["{", "}", "(", ")", ",", ";", "*", "["] {
        text = text.replace(sign, &format!(" {sign} "));
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_header_is_that_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut generated = Vec::new();
    cbindgen::generate_with_config(root, config).unwrap().write(&mut generated);
    let generated = declarations(&String::from_utf8(generated).unwrap());
    let written = declarations(&std::fs::read_to_string(root.join("vmsgr.h")).unwrap());
    assert!(generated.len() > 40, "{generated:#?}");
    let missing: Vec<_> = generated.difference(&written).collect();
    let wrong: Vec<_> = written.difference(&generated).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "code: {missing:#?}\nheader: {wrong:#?}");
}
