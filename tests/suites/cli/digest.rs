//! The digest by which balancers of a fleet can be seen to hold the same tables.

use crate::site::Site;

#[test]
fn daemons_with_one_file_in_two_orders_print_the_same_digest() {
    let (one, other) = (Site::new(), Site::with_backends(&[3, 1, 2]));
    let _daemons = (one.start(&[]), other.start(&[]));
    assert_ne!(one.config, other.config);
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.digest().len(), 16);
}

#[test]
fn daemon_with_another_seed_prints_another_digest() {
    let (one, mut other) = (Site::new(), Site::new());
    other.change("000102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e10");
    let _daemons = (one.start(&[]), other.start(&[]));
    assert_ne!(one.digest(), other.digest());
}
