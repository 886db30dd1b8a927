//! Files that are read again.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;

use super::{
    super::{Reader, Service},
    *,
};

const PATH: &str = "sluice.toml";

/// What `text` comes to where nothing was read before.
fn anew(text: &str) -> Result<(Config, Vec<Warning>), Diagnostics> {
    Config::read(Path::new(PATH), text)
}

fn again(reader: &mut Reader, text: &str) -> Result<(Config, Vec<Warning>), Diagnostics> {
    reader.read(Path::new(PATH), Arc::new(text.to_owned()))
}

/// The names of services that are the very same in both.
fn shared<'a>(before: &'a Config, after: &'a Config) -> Vec<&'a str> {
    let is_shared = |service: &&Arc<Service>| {
        before.service(&service.name).is_some_and(|before| Arc::ptr_eq(before, service))
    };
    after.services.iter().filter(is_shared).map(|service| service.name.as_str()).collect()
}

#[test]
fn only_services_with_another_text_are_read_anew() {
    let first = format!("{FLAWLESS}{DNS}");
    let moved = replaced(
        &first,
        "[[service]]\nname = \"web\"",
        "[[service]]\nname = \"new\"\naddress = \"203.0.113.11\"\nport = 80\nprotocol = \"tcp\"\nforwarding = \"ipip\"\nprobe = { interval = \"2s\" }\nbackend = [{ name = \"n\", address = \"198.51.100.31\" }]\n[[service]]\nname = \"web\"",
    );
    let cases: [(&str, String, &[&str]); 8] = [
        ("the same", first.clone(), &["dns", "web"]),
        ("a backend", replaced(&first, "198.51.100.11", "198.51.100.12"), &["dns"]),
        ("the last service", replaced(&first, "port = 8053", "port = 8054"), &["web"]),
        ("one taken out", FLAWLESS.to_owned(), &["web"]),
        ("one put before the others", moved, &["dns", "web"]),
        ("the head", replaced(&first, "eth0", "eth1"), &[]),
        ("a string of several lines", format!("{first}location = \"\"\"eu\"\"\"\n"), &[]),
        ("a header that is written otherwise", replaced(&first, "[service.probe]", "[ service.probe ]"), &[]),
    ];
    for (case, text, expected) in cases {
        let mut reader = Reader::default();
        let (before, _) = again(&mut reader, &first).unwrap();
        let (after, warnings) = again(&mut reader, &text).unwrap();
        assert_eq!((&after, &warnings), (&anew(&text).unwrap().0, &anew(&text).unwrap().1), "{case}");
        assert_eq!(shared(&before, &after), expected, "{case}");
        let (third, _) = again(&mut reader, &text).unwrap();
        assert_eq!(third, after, "{case}");
    }
}

#[test]
fn what_services_have_in_common_is_found_as_in_a_new_file() {
    let first = format!("{FLAWLESS}{DNS}");
    let cases = [
        ("a name twice", replaced(&first, "name = \"dns\"", "name = \"web\"")),
        (
            "an endpoint twice",
            replaced(
                &first,
                "\"2001:db8::53\"\nport = 53\nprotocol = \"udp\"",
                "\"203.0.113.10\"\nport = 80\nprotocol = \"tcp\"",
            ),
        ),
        ("a new VIP that is a backend", replaced(&first, "\"2001:db8::53\"", "\"198.51.100.11\"")),
        ("a new backend that is a VIP", replaced(&first, "\"2001:db8:1::53\"", "\"203.0.113.10\"")),
        ("a service twice", format!("{first}{DNS}")),
        ("a mistake", replaced(&first, "port = 8053", "port = 80530")),
        ("no TOML", replaced(&first, "port = 8053", "port = ")),
        ("too many slots", replaced(&first, "name = \"dns\"", "name = \"dns\"\nslots = 4194301")),
    ];
    for (case, text) in cases {
        let mut reader = Reader::default();
        let (before, _) = again(&mut reader, &first).unwrap();
        assert_eq!(again(&mut reader, &text), anew(&text), "{case}");
        assert!(anew(&text).is_err(), "{case}");
        let (after, _) = again(&mut reader, &first).unwrap();
        assert_eq!(shared(&before, &after), ["dns", "web"], "{case}: what was right is known still");
    }
}

#[test]
fn warnings_are_those_of_the_whole_file() {
    let unprobed = replaced(DNS, "[service.probe]\nport = 8053\n", "");
    let first = format!("{FLAWLESS}{unprobed}");
    let mut reader = Reader::default();
    for text in [first.clone(), first.clone(), replaced(&first, "198.51.100.11", "198.51.100.12")] {
        let (_, warnings) = again(&mut reader, &text).unwrap();
        assert_eq!(warnings, anew(&text).unwrap().1);
        assert_eq!(warnings.len(), 1);
    }
}

#[test]
fn another_list_is_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(PATH);
    let guarded = with("forwarding = \"ipip\"", "forwarding = \"ipip\"\nguard = { allow = [\"offices\"] }");
    let text = Arc::new(format!("[[list]]\nname = \"offices\"\nfile = \"offices.txt\"\n{guarded}"));
    let mut reader = Reader::default();
    for prefixes in ["192.0.2.0/24\n", "192.0.2.0/24\n", "198.51.100.0/24\n"] {
        std::fs::write(directory.path().join("offices.txt"), prefixes).unwrap();
        let (config, _) = reader.read(&path, Arc::clone(&text)).unwrap();
        assert_eq!(config, Config::read(&path, &text).unwrap().0, "{prefixes}");
    }
}

/// A service of a number, in one of several ways.
fn service(number: usize, way: usize) -> String {
    let name = if way == 5 { 0 } else { number };
    let (probe, backends) = match way % 3 {
        0 => ("probe = { type = \"none\" }\n", 2),
        1 => ("", 1),
        _ => ("probe = { interval = \"2s\" }\n", 3),
    };
    let backends = (0..backends).map(|backend| {
        let address = if way == 4 { 0 } else { number };
        format!(
            "[[service.backend]]\nname = \"b{backend}\"\naddress = \"198.51.{address}.{}\"\n",
            backend + 1
        )
    });
    format!(
        "[[service]]\nname = \"s{name}\"\naddress = \"203.0.113.{number}\"\nport = 80\nprotocol = \"tcp\"\nforwarding = \"ipip\"\n{probe}{}",
        backends.collect::<String>()
    )
}

fn file(services: &[(usize, usize)]) -> String {
    let services = services.iter().map(|&(number, way)| service(number, way));
    format!("[balancer]\ninterfaces = [\"eth0\"]\n{}", services.collect::<String>())
}

proptest! {
    #[test]
    fn reading_again_comes_to_what_reading_anew_does(
        files in proptest::collection::vec(proptest::collection::vec((0_usize..6, 0_usize..6), 0..6), 1..6)
    ) {
        let mut reader = Reader::default();
        for services in files {
            let text = file(&services);
            prop_assert_eq!(again(&mut reader, &text), anew(&text), "{}", text);
        }
    }
}
