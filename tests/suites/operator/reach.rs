//! Who reaches the admin API.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::site::Site;

#[test]
fn socket_is_for_its_owner_and_group() {
    let site = Site::new();
    let _daemon = site.start(&[]);
    let mode = fs::metadata(site.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
}
