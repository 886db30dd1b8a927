//! Which kind of XDP the daemon attaches with, and how it tells.

use crate::site::{LOOPBACK, Site, assert_says};

#[test]
fn native_mode_is_taken_where_the_driver_has_it() {
    let site = Site::new();
    let daemon = site.start(&["--detach"]);
    assert_says(&site.status(), &["on eth0 (native)"]);
    assert!(!daemon.process.log().contains("WARN"), "{}", daemon.process.log());
}

#[test]
fn fallback_to_generic_mode_warns_of_what_it_costs() {
    let mut site = Site::new();
    site.change("[\"eth0\"]", "[\"lo\"]");
    let mut daemon = site.start(&["--detach"]);
    let warning = "WARN attached in generic mode, since the driver has no native XDP";
    assert_says(&daemon.process.log(), &[warning, "costs", "interface=\"lo\""]);
    assert_says(&site.status(), &["on lo (generic)"]);
    assert_eq!(site.program(LOOPBACK)["mode"], XDP_ATTACHED_SKB);
    daemon.terminate().unwrap();
    site.assert_nothing_left();
}

#[test]
fn generic_mode_that_was_asked_for_is_no_warning() {
    let mut site = Site::new();
    site.change("mode = \"auto\"", "mode = \"generic\"");
    let daemon = site.start(&["--detach"]);
    assert_says(&site.status(), &["on eth0 (generic)"]);
    assert!(!daemon.process.log().contains("WARN"), "{}", daemon.process.log());
}

/// Of `linux/if_link.h`.
const XDP_ATTACHED_SKB: u8 = 2;
