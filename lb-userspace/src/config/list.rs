//! `[[list]]`: prefixes that services allow or deny, in the file itself or in one of their own.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    List,
    file::{File, Located, Place},
    schema,
    section::{Entry, Section},
};
use crate::rules::Rules;

/// Gives the bytes of a list's file.
pub(super) type ReadList<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Mistakes of one file that are told one by one: whoever has mixed up two files does not want a million.
const MOST_MISTAKES: usize = 8;

/// All lists, by name.
#[derive(Debug, Default)]
pub(super) struct Lists {
    by_name: HashMap<String, List>,
    /// What combinations of them come to: many services may have the same.
    rules: HashMap<(Vec<String>, Vec<String>), Arc<Rules>>,
}

impl Lists {
    pub(super) fn read(root: &Section<'_>, read: ReadList<'_>) -> Self {
        let mut seen: HashMap<String, Place> = HashMap::new();
        let mut lists = Self::default();
        for section in root.sections("list", &schema::LIST) {
            let Some(name) = section.required("name", "name = \"offices\"", Entry::name) else { continue };
            if let Some(first) = seen.insert(name.value.clone(), name.place.clone()) {
                let message = format!("list name {} is used twice", name.value);
                root.file.report_second(&name.place, &first, message, "expected another name");
            }
            let list = list(&section, name.value.clone(), read);
            lists.by_name.insert(name.value, list);
        }
        lists
    }

    pub(super) fn into_sorted(self) -> Vec<List> {
        let mut lists: Vec<_> = self.by_name.into_values().collect();
        lists.sort_by(|a, b| a.name.cmp(&b.name));
        lists
    }

    /// What lists that a service names come to; none where it names none. Names of no list are reported.
    pub(super) fn rules(
        &mut self,
        file: &File<'_>,
        allow: Option<&Located<Vec<Located<String>>>>,
        deny: Option<&Located<Vec<Located<String>>>>,
    ) -> Option<Arc<Rules>> {
        let known = |names: Option<&Located<Vec<Located<String>>>>| -> Vec<String> {
            let names = names.into_iter().flat_map(|names| &names.value);
            names.filter(|name| self.knows(file, name)).map(|name| name.value.clone()).collect()
        };
        let (allow, deny) = (known(allow), known(deny));
        if allow.is_empty() && deny.is_empty() {
            return None;
        }
        let of = |names: &[String]| -> Vec<Arc<[IpNet]>> {
            names.iter().map(|name| Arc::clone(&self.by_name[name].prefixes)).collect()
        };
        let (allowed, denied) = (of(&allow), of(&deny));
        let rules = self.rules.entry((allow, deny)).or_insert_with(|| {
            Arc::new(Rules::new(allowed.iter().map(AsRef::as_ref), denied.iter().map(AsRef::as_ref)))
        });
        Some(Arc::clone(rules))
    }

    fn knows(&self, file: &File<'_>, name: &Located<String>) -> bool {
        if self.by_name.contains_key(&name.value) {
            return true;
        }
        let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        let error = file.error(&name.place, format!("there is no list {}", name.value));
        let expected = match super::suggest::closest(&name.value, &names) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "expected the name of a [[list]]".to_owned(),
        };
        file.report(error.expected(expected));
        false
    }
}

/// The names of lists, each written once.
pub(super) fn names(entry: &Entry<'_>) -> Option<Vec<Located<String>>> {
    let entries = entry.list("names of lists")?;
    if entries.is_empty() {
        return entry.refuse("no list is named", "expected at least one name of a [[list]], or no such key");
    }
    let located = |entry: &Entry<'_>| Some(Located { value: entry.name()?, place: entry.place.clone() });
    Some(entries.iter().filter_map(located).collect())
}

fn list(section: &Section<'_>, name: String, read: ReadList<'_>) -> List {
    let mut prefixes = Vec::new();
    for entry in
        section.optional("prefixes", |entry| entry.list("prefixes")).into_iter().flat_map(|l| l.value)
    {
        prefixes.extend(entry.string("a prefix").and_then(|text| match prefix(text) {
            Ok(prefix) => Some(prefix),
            Err(wrong) => entry.refuse(format!("{} {}", entry.excerpt(), wrong.what), wrong.expected),
        }));
    }
    let file = section.optional("file", |entry| Some(PathBuf::from(entry.string("a path")?)));
    let mut fingerprint = 0;
    if let Some(path) = &file {
        match read(&path.value) {
            Ok(bytes) => {
                fingerprint = self::fingerprint(&bytes);
                prefixes.extend(lines(section.file, path, &bytes));
            }
            Err(error) => refuse_unreadable(section.file, path, &error),
        }
    }
    if !section.mentions("file") && !section.mentions("prefixes") {
        section.refuse_absence("file", "file = \"denied.txt\"` or `prefixes = [\"192.0.2.0/24\"]");
    }
    List { name, file: file.map(|file| file.value), fingerprint, prefixes: prefixes.into() }
}

/// Tells contents of a file apart.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn refuse_unreadable(file: &File<'_>, path: &Located<PathBuf>, error: &io::Error) {
    let message = format!("{} cannot be read: {error}", path.value.display());
    let help = "a path that does not begin with `/` is taken from the directory of this file";
    file.report(
        file.error(&path.place, message).expected("expected a file with a prefix in each line").help(help),
    );
}

/// The prefixes of a file. Mistakes are told with the line of that file.
fn lines(config: &File<'_>, path: &Located<PathBuf>, bytes: &[u8]) -> Vec<IpNet> {
    let shown = path.value.display().to_string();
    let text = String::from_utf8_lossy(bytes);
    let file = File::new(&shown, &text);
    let mut prefixes = Vec::new();
    let (mut mistakes, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let written = line.split(['#', ';']).next().unwrap_or_default().trim();
        match prefix(written) {
            _ if written.is_empty() => {}
            Ok(prefix) => prefixes.push(prefix),
            Err(wrong) => {
                mistakes += 1;
                let start = at + line.find(written).unwrap_or(0);
                let place = Place { key: String::new(), span: Some(start..start + written.len()) };
                if mistakes <= MOST_MISTAKES {
                    let shown: String = written.chars().take(48).collect();
                    let error = file.error(&place, format!("{shown} {}", wrong.what));
                    config.report(error.expected(wrong.expected));
                }
            }
        }
        at += line.len();
    }
    if mistakes > MOST_MISTAKES {
        let message = format!("{} more lines of {shown} are no prefixes", mistakes - MOST_MISTAKES);
        config.report(config.error(&path.place, message).expected("expected a prefix in each line"));
    }
    prefixes
}

/// Why something is no prefix.
struct Wrong {
    what: &'static str,
    expected: String,
}

/// A prefix; an address alone is one of its full length.
fn prefix(text: &str) -> Result<IpNet, Wrong> {
    let Some(net) = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) else {
        let expected = "expected an address and a length, such as 192.0.2.0/24 or 2001:db8::/32".to_owned();
        return Err(Wrong { what: "is not a prefix", expected });
    };
    if net != net.trunc() {
        let expected = format!("expected {}, or {} for that address alone", net.trunc(), net.addr());
        return Err(Wrong { what: "has bits beyond its length", expected });
    }
    match net.addr() {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            let expected = format!("expected plain IPv4, such as {}", net.addr().to_canonical());
            Err(Wrong { what: "is an IPv4-mapped IPv6 prefix", expected })
        }
        _ => Ok(net),
    }
}
