//! Configurations that work and probably are not meant, with the warnings that they get; files that cannot be read.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{super::Config, DNS, FLAWLESS, messages, parse, with};

fn warnings(text: &str) -> String {
    let (_, warnings) = parse(text).expect(text);
    assert!(!warnings.is_empty(), "{text}");
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn questionable_configurations_are_warned_of() {
    let cases = [
        ("no seed", with("seed = \"00112233445566778899aabbccddeeff\"", "")),
        ("no services", FLAWLESS[..FLAWLESS.find("[[service]]").unwrap()].to_owned()),
        ("no backends", FLAWLESS[..FLAWLESS.find("[[service.backend]]").unwrap()].to_owned()),
        ("no probe", with("[service.probe]\ninterval = \"2s\"\n", "")),
        ("few slots", with("port = 80", "port = 80\nslots = 199")),
        (
            "nobody to take flows",
            FLAWLESS.replace("[[service.backend]]", "[[service.backend]]\nadmin = \"drain\""),
        ),
        (
            "a weight of less than a slot",
            with("port = 80", "port = 80\nslots = 211")
                .replace("name = \"web-1\"", "name = \"web-1\"\nweight = 1000"),
        ),
        (
            "a tunnel source for nobody",
            FLAWLESS.replace("\"ipip\"", "\"l2\"\ntunnel_source = [\"192.0.2.1\"]"),
        ),
    ];
    let said = messages(&cases, warnings);
    insta::assert_snapshot!(said);
}

#[test]
fn flawless_files_are_not_warned_of() {
    let (_, warnings) = parse(&format!("{FLAWLESS}{DNS}")).unwrap();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn only_a_seed_that_others_can_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    fs::write(&path, FLAWLESS).unwrap();
    for (mode, warned) in [(0o644, 1), (0o640, 0)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (_, warnings) = Config::load(&path).unwrap();
        assert_eq!(warnings.len(), warned, "{mode:o}: {warnings:#?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let latin1 = directory.path().join("latin1.toml");
    fs::write(&latin1, b"[balancer]\ninterfaces = [\"\xfc\"]\n").unwrap();
    let said = [&directory.path().join("absent.toml"), directory.path(), &latin1]
        .map(|path| Config::load(path).expect_err("unreadable").to_string())
        .join("\n\n")
        .replace(&directory.path().display().to_string(), "DIRECTORY");
    insta::assert_snapshot!(said);
}
