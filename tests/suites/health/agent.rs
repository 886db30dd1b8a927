//! Backends that say themselves how they are.

use crate::{
    clinic::{Clinic, Patient, lan},
    listener::agent,
};

const PORT: u16 = 9777;

#[test]
fn backend_says_its_weight_and_its_state() {
    let lan = lan(2);
    let b1 = agent(&lan.backends[0], PORT, "up\n");
    let _b2 = agent(&lan.backends[1], PORT, "ready 100%\n");
    let patient = Patient::tcp("web", format!("type = \"agent\"\nport = {PORT}\nsend = \"b1 ?\\n\""));
    let mut clinic = Clinic::open(&lan, &[patient]);

    b1.set("50%\r\n");
    clinic.wait("web", "half its weight", |b1| {
        b1.says.as_deref() == Some("ready, 50%") && (0.32..0.35).contains(&b1.share)
    });

    b1.set("drain maxconn:30\n");
    let drained = clinic.wait("web", "a drain", |b1| b1.share == 0.0);
    assert_eq!(drained.says.as_deref(), Some("drain, 50%, maxconn:30"));
    assert_eq!(
        (drained.admin.as_str(), drained.health.as_str()),
        ("ready", "up"),
        "the operator's is its own"
    );

    b1.set("down#disk full\n");
    clinic.wait_down(&["web"], "the agent says down: disk full");

    b1.set("up ready 100%\n");
    let back = clinic.wait("web", "everything back", |b1| b1.health == "up" && b1.share > 0.4);
    assert!((0.49..0.51).contains(&back.share), "{back:?}");

    b1.set("HTTP/1.1 400 Bad Request\n");
    clinic.wait_down(&["web"], "the agent says \"HTTP/1.1\", which is none of its words");
}
