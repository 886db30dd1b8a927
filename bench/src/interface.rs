//! What `ip` says of an interface.

use std::process::Command;

use anyhow::Context as _;
use lb_tests::netns::Netns;

/// Its number.
pub(crate) fn index(netns: &Netns, device: &str) -> anyhow::Result<u32> {
    Ok(facts(netns, device)?["ifindex"].as_u64().context("an interface has a number")? as u32)
}

/// Its MAC address.
pub(crate) fn mac(netns: &Netns, device: &str) -> anyhow::Result<[u8; 6]> {
    let facts = facts(netns, device)?;
    let text = facts["address"].as_str().context("the interface has no MAC address")?;
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes?.try_into().map_err(|_| anyhow::anyhow!("{text} is no MAC address"))
}

fn facts(netns: &Netns, device: &str) -> anyhow::Result<serde_json::Value> {
    let text = netns.output(Command::new("ip").args(["-json", "link", "show", "dev", device]))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    Ok(links[0].clone())
}
