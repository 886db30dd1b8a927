//! What the lists of a service say of every source, worked out once: each prefix that differs from the one around it.
//!
//! Lists may overlap in any way: what one denies is denied, whatever another allows.

use ipnet::IpNet;
use lb_common::guard::{Prefix, Rule};

/// Prefixes with what becomes of the sources in them, unless a longer one holds them too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    entries: Vec<(Prefix, Rule)>,
}

/// A prefix, and which kind of list it is from.
type Entry = (IpNet, bool);

/// One around the prefix in question.
struct Around {
    net: IpNet,
    denied: bool,
    rule: Rule,
}

impl Rules {
    /// The rules of a service that these lists allow and deny sources. Without a list that allows, all are allowed.
    pub fn new<'a>(
        allow: impl IntoIterator<Item = &'a [IpNet]>,
        deny: impl IntoIterator<Item = &'a [IpNet]>,
    ) -> Self {
        let mut allow = allow.into_iter().peekable();
        let default = if allow.peek().is_some() { Rule::NotAllowed } else { Rule::Pass };
        let allowed = allow.flatten().map(|&net| (net, false));
        let mut all: Vec<Entry> = allowed.chain(deny.into_iter().flatten().map(|&net| (net, true))).collect();
        // A prefix comes after those around it; of two that are the same, the denied one is the first.
        all.sort_unstable_by(|(a, denied), (b, other)| a.cmp(b).then(other.cmp(denied)));
        all.dedup_by_key(|(net, _)| *net);
        let mut entries = vec![(Prefix::ALL, default)];
        let mut around: Vec<Around> = Vec::new();
        for (net, denied) in all {
            while around.last().is_some_and(|outer| !outer.net.contains(&net)) {
                around.pop();
            }
            let (outer_rule, outer_denied) =
                around.last().map_or((default, false), |outer| (outer.rule, outer.denied));
            let denied = denied || outer_denied;
            let rule = if denied { Rule::Denied } else { Rule::Pass };
            if rule != outer_rule {
                entries.push((Prefix::new(net.addr().into(), net.prefix_len()), rule));
            }
            around.push(Around { net, denied, rule });
        }
        Self { entries }
    }

    /// The prefixes with their rules.
    #[must_use]
    pub fn entries(&self) -> &[(Prefix, Rule)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    fn rules(allow: &[&[&str]], deny: &[&[&str]]) -> Rules {
        let (allow, deny): (Vec<_>, Vec<_>) =
            (allow.iter().map(|list| nets(list)).collect(), deny.iter().map(|list| nets(list)).collect());
        Rules::new(allow.iter().map(Vec::as_slice), deny.iter().map(Vec::as_slice))
    }

    /// The rule of the longest entry that holds an address, as the trie finds it.
    fn rule_of(rules: &Rules, address: IpAddr) -> Rule {
        let holds = |prefix: &Prefix| {
            prefix.bits == 0
                || *prefix
                    == Prefix { bits: prefix.bits, ..Prefix::new(address.into(), (prefix.bits - 32) as u8) }
        };
        let of_family = |prefix: &Prefix| prefix.family == 0 || (prefix.family == 4) == address.is_ipv4();
        let entries = rules.entries().iter().filter(|(prefix, _)| of_family(prefix) && holds(prefix));
        entries.max_by_key(|(prefix, _)| prefix.bits).map(|(_, rule)| *rule).expect("there is one of all")
    }

    #[test]
    fn what_is_denied_is_denied_whatever_is_allowed() {
        let rules = rules(&[&["10.0.0.0/8", "10.1.2.0/24"]], &[&["10.1.0.0/16"], &["2001:db8::/32"]]);
        for (address, rule) in [
            ("10.0.0.1", Rule::Pass),
            ("10.1.0.1", Rule::Denied),
            ("10.1.2.1", Rule::Denied),
            ("192.0.2.1", Rule::NotAllowed),
            ("2001:db8::1", Rule::Denied),
            ("2001:db9::1", Rule::NotAllowed),
        ] {
            assert_eq!(rule_of(&rules, address.parse().expect("an address")), rule, "{address}");
        }
    }

    #[test]
    fn prefixes_that_say_nothing_else_are_left_out() {
        let rules = rules(&[], &[&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.0.0.0/8"]]);
        assert_eq!(rules.entries().len(), 2, "{rules:?}");
    }

    #[test]
    fn an_empty_list_allows_nobody() {
        assert_eq!(rules(&[&[]], &[]).entries(), [(Prefix::ALL, Rule::NotAllowed)]);
        assert_eq!(rules(&[], &[&[]]).entries(), [(Prefix::ALL, Rule::Pass)]);
    }

    fn net() -> impl Strategy<Value = IpNet> {
        // Few bits, so that prefixes overlap.
        (0..16u32, 20..=32u8).prop_map(|(bits, length)| {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 | bits << 8 | bits);
            IpNet::new(address.into(), length).expect("a length").trunc()
        })
    }

    proptest! {
        #[test]
        fn every_address_meets_what_the_lists_say(
            allow in proptest::collection::vec(net(), 0..12),
            deny in proptest::collection::vec(net(), 0..12),
            host in 0..0x1000u32,
        ) {
            let rules = Rules::new([allow.as_slice()], [deny.as_slice()]);
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 | host));
            let holds = |list: &[IpNet]| list.iter().any(|net| net.contains(&address));
            let expected = match (holds(&deny), holds(&allow)) {
                (true, _) => Rule::Denied,
                (false, true) => Rule::Pass,
                (false, false) => Rule::NotAllowed,
            };
            prop_assert_eq!(rule_of(&rules, address), expected);
        }
    }
}
