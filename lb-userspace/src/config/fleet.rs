//! `[fleet]`: what all balancers share. The seed is a secret, so messages do not repeat it.

use std::{collections::HashMap, net::IpAddr};

use lb_common::hash::Seed;

use super::{
    DEFAULT_SEED, Fleet,
    file::{Located, Place},
    schema,
    section::{Entry, Section},
};

/// Where balancers talk that do not say otherwise.
const DEFAULT_PORT: u16 = 9902;

/// Each balancer talks to each other one.
const MAX_PEERS: usize = 64;

/// Reads `[fleet]`.
pub(super) fn fleet(root: &Section<'_>) -> Fleet {
    let section = root.section("fleet", &schema::FLEET);
    let within = section.as_ref();
    let peers = within.and_then(|section| section.optional("peers", peers));
    if !within.is_some_and(|section| section.mentions("seed")) {
        match &peers {
            Some(peers) if !peers.value.is_empty() => refuse_default_seed(root, peers),
            _ => warn_of_default_seed(within.unwrap_or(root)),
        }
    }
    let seed = within.and_then(|section| section.optional("seed", seed));
    let port = within.and_then(|section| section.optional("port", |entry| entry.integer(&(1..=65_535))));
    Fleet {
        seed_is_default: seed.is_none(),
        seed: seed.map_or(DEFAULT_SEED, |seed| seed.value),
        peers: peers.map(|peers| peers.value).unwrap_or_default(),
        port: port.map_or(DEFAULT_PORT, |port| port.value as u16),
    }
}

fn warn_of_default_seed(section: &Section<'_>) {
    let place = Place { key: "fleet.seed".to_owned(), ..section.place.clone() };
    let warning = section.file.warning(&place, "the fleet's seed is the one that everybody knows");
    section.file.warn(warning.expected("no `seed` is set").help(
        "anybody can aim flows at one backend: add `seed = \"…\"` under [fleet], the same on every balancer, \
         made with `openssl rand -hex 16`",
    ));
}

/// Balancers know each other by the seed.
fn refuse_default_seed(root: &Section<'_>, peers: &Located<Vec<IpAddr>>) {
    let error = root.file.error(&peers.place, "peers cannot trust a seed that everybody knows");
    root.file.report(error.expected("expected a `seed` beside `peers`").help(
        "anybody could tell this balancer where flows are: add `seed = \"…\"` under [fleet], the same on every \
         balancer, made with `openssl rand -hex 16`",
    ));
}

fn peers(entry: &Entry<'_>) -> Option<Vec<IpAddr>> {
    let entries = entry.list("addresses")?;
    if entries.len() > MAX_PEERS {
        let message = format!("{} peers are too many", entries.len());
        return entry.refuse(message, format!("expected at most {MAX_PEERS}: each talks to each other one"));
    }
    let mut seen: HashMap<IpAddr, &Place> = HashMap::new();
    let read: Vec<_> = entries.iter().filter_map(|entry| Some((entry, entry.address()?))).collect();
    for (Entry { file, place, .. }, address) in &read {
        if let Some(first) = seen.insert(*address, place) {
            let message = format!("peer {address} is listed twice");
            file.report_second(place, first, message, "expected one address of each balancer, once");
        }
    }
    let (_, first) = read.first()?;
    if let Some((entry, other)) = read.iter().find(|(_, address)| address.is_ipv4() != first.is_ipv4()) {
        let message = format!("{other} is of another family than {first}");
        return entry.refuse(message, "expected one address of each balancer, all of one family");
    }
    Some(read.into_iter().map(|(_, address)| address).collect())
}

fn seed(entry: &Entry<'_>) -> Option<Seed> {
    const DIGITS: usize = 32;
    let text = entry.string("32 hexadecimal digits")?;
    let digits = text.chars().filter(char::is_ascii_hexdigit).count();
    let value = u128::from_str_radix(text, 16).ok().filter(|_| digits == DIGITS && text.len() == DIGITS);
    if value.is_none() {
        let message = format!(
            "{} characters, {digits} of them hexadecimal digits, are not a seed",
            text.chars().count()
        );
        let error = entry.file.error(&entry.place, message).secret();
        let error = error.expected(format!("expected {DIGITS} hexadecimal digits"));
        entry.file.report(error.help("make one with `openssl rand -hex 16`"));
    }
    value.map(|value| Seed(value.to_be_bytes()))
}
