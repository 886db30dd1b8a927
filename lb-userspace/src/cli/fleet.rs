//! The fleet's part of `sluice status`: who this host is, and how it stands with each other balancer.

use comfy_table::Table;

use super::status::{align_right, plain_table};
use crate::admin::status::{Fleet, Peer};

/// A line about this host, and one for each peer.
pub(super) fn fleet(fleet: &Fleet) -> String {
    let own = match (&fleet.own, &fleet.problem) {
        (Some(own), _) => own.to_string(),
        (None, Some(problem)) => format!("not known: {problem}"),
        (None, None) => "not known yet".to_owned(),
    };
    format!("fleet: this host is {own}\n{}", peers(&fleet.peers))
}

fn peers(peers: &[Peer]) -> Table {
    let mut table = plain_table(&["peer", "state", "told", "dropped", "heard", "remembered", "tables"]);
    for peer in peers {
        table.add_row([
            peer.address.to_string(),
            state(peer),
            peer.flows_told.to_string(),
            peer.flows_dropped.to_string(),
            peer.flows_heard.to_string(),
            peer.flows_remembered.to_string(),
            tables(peer),
        ]);
    }
    align_right(&mut table, &[2, 3, 4, 5]);
    table
}

fn state(peer: &Peer) -> String {
    let listens = if peer.listens { "listens" } else { "does not listen" };
    match &peer.problem {
        None if peer.heard => format!("heard, {listens}"),
        None => format!("not heard yet, {listens}"),
        Some(problem) => format!("{listens}; not heard: {problem}"),
    }
}

/// Whether its tables are those of this host.
fn tables(peer: &Peer) -> String {
    /// Names that are told; the JSON has all.
    const SHOWN: usize = 3;
    let other = &peer.other_tables;
    if !peer.heard {
        return "not known".to_owned();
    }
    if other.is_empty() {
        return "same".to_owned();
    }
    let names = other.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if other.len() > SHOWN { ", …" } else { "" };
    format!("{} same, {} other: {names}{more}", peer.same_tables, other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> Peer {
        Peer {
            address: [192, 0, 2, n].into(),
            heard: true,
            problem: None,
            listens: true,
            flows_told: 17,
            flows_dropped: 0,
            flows_heard: 1_234,
            flows_remembered: 99,
            same_tables: 5,
            other_tables: Vec::new(),
        }
    }

    #[test]
    fn peers_are_listed_with_what_is_wrong() {
        let deaf = Peer { listens: false, ..peer(3) };
        let mute = Peer { heard: false, problem: Some("it is no sluice".to_owned()), ..peer(4) };
        let other_tables = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let other = Peer { same_tables: 1, other_tables, ..peer(5) };
        let own = Some([192, 0, 2, 1].into());
        let fleet_of = Fleet { own, problem: None, peers: vec![peer(2), deaf, mute, other] };
        insta::assert_snapshot!(fleet(&fleet_of));
    }

    #[test]
    fn host_that_is_none_of_the_peers_is_told_why() {
        let problem = Some("none of fleet.peers is an address of this host".to_owned());
        let text = fleet(&Fleet { own: None, problem, peers: Vec::new() });
        assert!(text.starts_with("fleet: this host is not known: none of"), "{text}");
    }
}
