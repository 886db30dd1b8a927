//! `[fleet]`: what all balancers share. The seed is a secret, so messages do not repeat it.

use lb_common::hash::Seed;

use super::{
    DEFAULT_SEED, Fleet,
    file::Place,
    schema,
    section::{Entry, Section},
};

/// Reads `[fleet]`.
pub(super) fn fleet(root: &Section<'_>) -> Fleet {
    let section = root.section("fleet", &schema::FLEET);
    if !section.as_ref().is_some_and(|section| section.mentions("seed")) {
        warn_of_default_seed(section.as_ref().unwrap_or(root));
    }
    let seed = section.and_then(|section| section.optional("seed", seed));
    Fleet { seed_is_default: seed.is_none(), seed: seed.map_or(DEFAULT_SEED, |seed| seed.value) }
}

fn warn_of_default_seed(section: &Section<'_>) {
    let place = Place { key: "fleet.seed".to_owned(), ..section.place.clone() };
    let warning = section.file.warning(&place, "the fleet's seed is the one that everybody knows");
    section.file.warn(warning.expected("no `seed` is set").help(
        "anybody can aim flows at one backend: add `seed = \"…\"` under [fleet], the same on every balancer, \
         made with `openssl rand -hex 16`",
    ));
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
