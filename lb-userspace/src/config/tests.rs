//! What files become, and what is said of those that cannot become anything.

mod again;
mod api;
mod broken;
mod documents;
mod fuzz;
mod guards;
mod mss;
mod nat;
mod questionable;
mod quic;
mod rollout;
mod shapes;
mod sharing;
mod valid;

use super::{Config, Diagnostics, Warning};

/// A file without a flaw, written so that each line can be replaced by a flawed one.
const FLAWLESS: &str = r#"[balancer]
interfaces = ["eth0"]

[fleet]
seed = "00112233445566778899aabbccddeeff"

[[service]]
name = "web"
address = "203.0.113.10"
port = 80
protocol = "tcp"
forwarding = "ipip"

[service.probe]
interval = "2s"

[[service.backend]]
name = "web-1"
address = "198.51.100.11"

[[service.backend]]
name = "web-2"
address = "2001:db8:1::12"
"#;

/// A second service to go with it.
const DNS: &str = r#"
[[service]]
name = "dns"
address = "2001:db8::53"
port = 53
protocol = "udp"
forwarding = "l2"

[service.probe]
port = 8053

[[service.backend]]
name = "dns-1"
address = "2001:db8:1::53"
"#;

fn parse(text: &str) -> Result<(Config, Vec<Warning>), Diagnostics> {
    Config::parse("sluice.toml", text)
}

/// [`FLAWLESS`] with `line` replaced by `flawed`.
fn with(line: &str, flawed: &str) -> String {
    replaced(FLAWLESS, line, flawed)
}

/// `text` with `line`, which is in it, replaced by `flawed`.
fn replaced(text: &str, line: &str, flawed: &str) -> String {
    assert!(text.contains(line), "{line}");
    text.replacen(line, flawed, 1)
}

/// What is said of each of `cases`, under its title.
fn messages(cases: &[(&str, String)], say: impl Fn(&str) -> String) -> String {
    cases.iter().map(|(title, text)| format!("# {title}\n\n{}\n", say(text))).collect::<Vec<_>>().join("\n")
}
