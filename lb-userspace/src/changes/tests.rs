use std::time::Duration;

use toml::Table;

use super::{Changes, Document, EditError, Lease, file};
use crate::health::TargetKey;

const FILE: &str = r#"
[[service]]
name = "web"
port = 80

[[service.backend]]
name = "b1"
weight = 2

[[service.backend]]
name = "b2"

[[service]]
name = "dns"
port = 53
"#;

fn document(text: &str) -> Document {
    Document::parse(text).unwrap()
}

fn table(text: &str) -> Table {
    text.parse().unwrap()
}

fn key(service: &str, backend: &str) -> TargetKey {
    TargetKey { service: service.to_owned(), backend: backend.to_owned() }
}

fn after(text: &str, from: &str, to: &str) -> Document {
    assert!(text.contains(from), "{from}");
    document(&text.replacen(from, to, 1))
}

/// Each service with its backends, with their weights where they have some.
fn shown(document: &Document) -> String {
    let backend = |service: &str, name: &str| {
        let weight = document.backend(&key(service, name)).unwrap().get("weight");
        weight.map_or_else(|| name.to_owned(), |weight| format!("{name}={weight}"))
    };
    let service = |service: &Table| {
        let name = service["name"].as_str().unwrap();
        let backends: Vec<_> = document.backends(name).map(|b| backend(name, b)).collect();
        format!("{name}:{} {}", service["port"], backends.join(" "))
    };
    document.services().map(service).collect::<Vec<_>>().join(", ").replace(" ,", ",").trim_end().to_owned()
}

/// What a change makes of the file.
fn changed(
    change: impl Fn(&mut Changes, &Document) -> Result<(), EditError>,
) -> (Changes, Result<String, EditError>) {
    let file = document(FILE);
    let mut changes = Changes::default();
    let result = change(&mut changes, &file);
    let merged = shown(&changes.merge(&file));
    (changes, result.map(|()| merged))
}

#[test]
fn changes_are_made_where_the_file_says_something_or_nothing() {
    let ok = |change: &dyn Fn(&mut Changes, &Document) -> Result<(), EditError>| changed(change).1.unwrap();
    assert_eq!(shown(&document(FILE)), "web:80 b1=2 b2, dns:53");
    let put = |name: &'static str, text: &'static str| {
        move |changes: &mut Changes, file: &Document| {
            changes.put_backend(file, &key("web", name), table(text), None)
        }
    };
    assert_eq!(ok(&put("b1", "name='b1'\nweight=5")), "web:80 b1=5 b2, dns:53");
    assert_eq!(ok(&put("b3", "name='b3'")), "web:80 b1=2 b2 b3, dns:53");
    assert_eq!(ok(&|c, f| c.delete_backend(f, &key("web", "b1"))), "web:80 b2, dns:53");
    assert_eq!(ok(&|c, f| c.delete_service(f, "web")), "dns:53");
    assert_eq!(ok(&|c, f| c.put_service(f, "dns", table("name='dns'\nport=54"))), "web:80 b1=2 b2, dns:54");
    let mail = "name='mail'\nport=25\n[[backend]]\nname='m1'";
    assert_eq!(ok(&|c, f| c.put_service(f, "mail", table(mail))), "web:80 b1=2 b2, dns:53, mail:25 m1");
    let web = "name='web'\nport=80\n[[backend]]\nname='b2'\n[[backend]]\nname='b9'";
    assert_eq!(ok(&|c, f| c.put_service(f, "web", table(web))), "web:80 b2 b9, dns:53");
    assert_eq!(ok(&|c, f| c.put_service(f, "web", table("name='web'\nport=81"))), "web:81 b1=2 b2, dns:53");
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let (changes, error) = changed(|c, f| c.delete_backend(f, &key("web", "b9")));
    assert_eq!((changes, error), (Changes::default(), Err(EditError::NoBackend(key("web", "b9")))));
    let no_mail = Err(EditError::NoService("mail".to_owned()));
    assert_eq!(changed(|c, f| c.delete_service(f, "mail")).1, no_mail);
    assert_eq!(changed(|c, f| c.put_backend(f, &key("mail", "m1"), Table::new(), None)).1, no_mail);
    let nameless = table("name='web'\n[[backend]]\nweight=1");
    assert_eq!(changed(|c, f| c.put_service(f, "web", nameless.clone())).1, Err(EditError::Nameless(0)));
}

#[test]
fn change_back_to_what_the_file_says_is_no_change() {
    let file = document(FILE);
    let mut changes = Changes::default();
    changes.put_backend(&file, &key("web", "b1"), table("name='b1'\nweight=5"), None).unwrap();
    changes.put_backend(&file, &key("web", "b3"), table("name='b3'"), None).unwrap();
    changes.put_service(&file, "mail", table("name='mail'\nport=25")).unwrap();
    changes.put_backend(&file, &key("web", "b1"), table("name='b1'\nweight=2"), None).unwrap();
    changes.delete_backend(&file, &key("web", "b3")).unwrap();
    changes.delete_service(&file, "mail").unwrap();
    assert!(changes.is_empty(), "{changes:?}");
}

/// What the file becomes, what runs then, and what of the changes it overrules.
#[test]
fn file_wins_where_its_own_entry_has_changed_and_nowhere_else() {
    let before = document(FILE);
    let mut changes = Changes::default();
    changes.put_backend(&before, &key("web", "b1"), table("name='b1'\nweight=5"), None).unwrap();
    changes.put_backend(&before, &key("web", "b3"), table("name='b3'"), None).unwrap();
    changes.delete_backend(&before, &key("web", "b2")).unwrap();
    changes.put_service(&before, "dns", table("name='dns'\nport=54")).unwrap();
    let cases: [(Document, &str, &[&str]); 8] = [
        (document(FILE), "web:80 b1=5 b3, dns:54", &[]),
        (after(FILE, "port = 80", "port = 8080"), "web:8080 b1=5 b3, dns:54", &[]),
        (after(FILE, "weight = 2", "weight = 3"), "web:80 b1=3 b3, dns:54", &["web/b1"]),
        (after(FILE, "weight = 2", "weight = 5"), "web:80 b1=5 b3, dns:54", &[]),
        (
            after(FILE, "name = \"b2\"", "name = \"b2\"\nweight = 1"),
            "web:80 b1=5 b2=1 b3, dns:54",
            &["web/b2"],
        ),
        (after(FILE, "port = 53", "port = 55"), "web:80 b1=5 b3, dns:55", &["dns"]),
        (after(FILE, "name = \"b2\"", "name = \"b3\"\nweight = 7"), "web:80 b1=5 b3=7, dns:54", &["web/b3"]),
        (after(FILE, "name = \"web\"", "name = \"www\""), "www:80 b1=2 b2, dns:54", &["web/b1", "web/b3"]),
    ];
    for (file, expected, overruled) in cases {
        let mut changes = changes.clone();
        assert_eq!(changes.follow(&file), overruled, "{expected}");
        assert_eq!(shown(&changes.merge(&file)), expected);
        assert_eq!(changes.follow(&file), [""; 0], "what is overruled once is forgotten");
    }
}

#[test]
fn removed_service_stays_removed_until_the_file_says_anything_else_of_it() {
    let before = document(FILE);
    let mut changes = Changes::default();
    changes.delete_service(&before, "web").unwrap();
    let mut same = changes.clone();
    assert_eq!(same.follow(&after(FILE, "port = 53", "port = 54")), [""; 0]);
    assert_eq!(shown(&same.merge(&before)), "dns:53");
    let file = after(FILE, "weight = 2", "weight = 3");
    assert_eq!(changes.follow(&file), ["web"]);
    assert_eq!(shown(&changes.merge(&file)), "web:80 b1=3 b2, dns:53");
}

#[test]
fn lease_lapses_unless_it_is_said_again() {
    let file = document(FILE);
    let at = Duration::from_secs;
    let mut changes = Changes::default();
    let put = |changes: &mut Changes, name: &str, until: u64| {
        let lease = Lease { ttl: at(30), until: at(until) };
        changes.put_backend(&file, &key("web", name), table(&format!("name='{name}'")), Some(lease)).unwrap();
    };
    put(&mut changes, "b3", 30);
    put(&mut changes, "b1", 31);
    assert_eq!(changes.next_lapse(), Some(at(30)));
    put(&mut changes, "b3", 50);
    assert_eq!((changes.next_lapse(), changes.lapse(at(30))), (Some(at(31)), vec![]));
    assert_eq!(changes.lapse(at(31)), [key("web", "b1")]);
    assert_eq!(shown(&changes.merge(&file)), "web:80 b1=2 b2 b3, dns:53", "the file's own is there again");
    assert_eq!(changes.lapse(at(50)), [key("web", "b3")]);
    assert_eq!((changes.next_lapse(), changes.is_empty()), (None, true));
}

#[test]
fn what_is_kept_is_found_again_and_a_lease_has_time_to_be_said_again() {
    let file = document(FILE);
    let at = Duration::from_secs;
    let mut changes = Changes::default();
    let lease = Lease { ttl: at(900), until: at(1500) };
    changes.put_backend(&file, &key("web", "b3"), table("name='b3'\nweight=1"), Some(lease)).unwrap();
    changes.delete_service(&file, "dns").unwrap();
    let text = file::render(&changes, at(1_000_000));
    assert_eq!(file::parse(&text, at(1_000_000)).unwrap(), changes);
    let until = |boot, now| file::parse(&text, at(boot)).unwrap().resumed(at(now)).next_lapse().unwrap();
    assert_eq!(until(1_000_000, 1100), at(1800), "what was left, and renewals that were not written");
    assert_eq!(until(1_000_000, 610), at(1510), "never more than its whole time");
    assert_eq!(until(1_001_000, 5), at(800), "after a boot");
    assert_eq!(until(1_009_000, 5), at(305), "long after: nobody was there to hear that it goes on");
    assert_eq!(until(0, 5), at(905), "a clock that was set back makes it no longer than it was");
    assert!(file::parse("{\"version\": 2}", at(0)).unwrap_err().to_string().contains("number 2"));
}

#[test]
fn renewal_is_written_only_where_a_restart_could_lose_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = file::ChangesFile::beside(&directory.path().join("state.json"));
    let (file, at) = (document(FILE), Duration::from_secs);
    let mut changes = Changes::default();
    let mut is_written = |until, name: &str| {
        let lease = Lease { ttl: at(30), until: at(until) };
        changes.put_backend(&file, &key("web", name), table("name='b3'"), Some(lease)).unwrap();
        let _ = std::fs::remove_file(store.path());
        store.save(&changes, at(0)).unwrap();
        store.path().exists()
    };
    assert!(is_written(30, "b3"), "a lease that is new");
    assert!(!is_written(40, "b3") && !is_written(330, "b3"));
    assert!(is_written(331, "b3"));
    assert!(is_written(331, "b4"), "another one");
    assert!(!is_written(340, "b3") && !is_written(340, "b4"));
}
