//! The web dashboard in a real browser, beside a real daemon with traffic.

use std::{fs, path::Path, process::Command};

use lb_tests::{balancer::binary, process::wait_until, topology::Lan};

use crate::{
    browser::{Browser, Glass, Page},
    pictures,
    site::DEADLINE,
    stage::{ADDRESS, OPERATOR, READER, Stage},
};

const DESKTOP: Glass = Glass { width: 1280, height: 900, scale: 1, dark: false };
const DARK: Glass = Glass { dark: true, ..DESKTOP };
const PHONE: Glass = Glass { width: 390, height: 844, scale: 2, dark: false };

/// An expression that finds what is in the row of a backend of `web`.
fn cell(backend: &str, selector: &str) -> String {
    format!("(document.querySelector('[data-key=web] [data-key={backend}] {selector}')?.textContent ?? '')")
}

#[test]
fn dashboard_shows_what_happens_and_orders_are_followed() {
    let lan = Lan::new().unwrap();
    let mut stage = Stage::set(&lan);
    stage.stop(3);
    let netns = &lan.balancer.netns;
    let mut drain = Command::new(binary().unwrap());
    netns.output(drain.args(["drain", "web/b2", "--socket"]).arg(stage.socket())).unwrap();
    let browser = Browser::start(netns);
    let mut page = browser.open(&format!("http://{ADDRESS}/"));
    page.wait_for("the question for a token", "!document.getElementById('token').hidden");
    page.evaluate(&format!("document.getElementById('secret').value = '{READER}'"));
    page.evaluate("document.querySelector('#token button').click()");

    page.wait_for("rates", &format!("Number.parseFloat({}) > 0", cell("b1", ".packets")));
    page.wait_for(
        "a share that was measured",
        &format!("/^\\d+\\.\\d %, 33\\.\\d % promised$/.test({})", cell("b1", ".share span")),
    );
    page.wait_for("who is down", &format!("{}.startsWith('down: ')", cell("b3", ".state")));
    page.wait_for("who drains", &format!("{} === 'drain by command, up'", cell("b2", ".state")));
    page.wait_for(
        "the history of who is down",
        "document.querySelector('[data-key=web] [data-key=b3] rect.state-down') !== null",
    );
    page.wait_for(
        "moved slots",
        "/b2 gets no new flows/.test(document.querySelector('[data-key=web] .moves').textContent)",
    );
    page.wait_for("drops", "document.querySelector('#drops [data-key=no_backend]') !== null");
    page.wait_for("lines of rates", "document.querySelectorAll('svg path.line').length >= 6");
    let digest = page.evaluate("document.querySelector('#configured [data-key=web] code').textContent");
    let told = stage.daemon.status().unwrap();
    assert_eq!(digest, told.service("web").unwrap().digest);
    page.wait_for("new flows", &format!("Number.parseFloat({}) > 0", cell("b1", ".opened")));
    look_at_configuration(&mut page, &stage);
    for glass in [DESKTOP, DARK, PHONE] {
        page.look_through(glass);
        page.wait_for(
            "a page as wide as its glass",
            &format!("document.documentElement.scrollWidth <= {}", glass.width),
        );
    }
    if let Some(pictures) = pictures::wanted() {
        take_pictures(&mut page, &pictures);
    }

    page.look_through(DESKTOP);
    order(&mut page, "b2", "ready");
    page.wait_for("the refusal", "/may only read/.test(document.getElementById('change-error').textContent)");
    assert_eq!(stage.admin("b2"), "drain", "whoever may only read has changed nothing");
    page.evaluate("document.querySelector('#change [value=cancel]').click()");
    page.evaluate(&format!("sessionStorage.setItem('sluice-token', '{OPERATOR}')"));
    order(&mut page, "b2", "ready");
    wait_until(DEADLINE, "the order to be followed", || stage.admin("b2") == "ready").unwrap();
    page.wait_for("its state", &format!("{} === 'up'", cell("b2", ".state")));

    let refusals = |error: &String| error.contains("status of 401") || error.contains("status of 403");
    let errors: Vec<_> = page.errors().into_iter().filter(|error| !refusals(error)).collect();
    assert_eq!(errors, Vec::<String>::new());
    let own = format!("http://{ADDRESS}/");
    let elsewhere: Vec<_> = page.requests().into_iter().filter(|url| !url.starts_with(&own)).collect();
    assert_eq!(elsewhere, Vec::<String>::new());

    stage.restart(|| {
        page.wait_for(
            "that the daemon is lost",
            "/does not answer/.test(document.getElementById('pulse').textContent)",
        );
    });
    page.wait_for("the next daemon", "document.getElementById('pulse').textContent === 'live'");
}

/// Unfolds the configuration, and folds it again.
fn look_at_configuration(page: &mut Page, stage: &Stage<'_>) {
    let unfold = "document.querySelector('#effective summary').click()";
    page.evaluate(unfold);
    page.wait_for(
        "its digest",
        "/digest [0-9a-f]{16}/.test(document.getElementById('effective-digest').textContent)",
    );
    let text = page.evaluate("document.getElementById('effective-text').textContent");
    let told: toml::Table = text.as_str().unwrap().parse().unwrap();
    assert_eq!(told["service"][0]["backend"][3]["weight"].as_integer(), Some(2), "{text}");
    assert_eq!(told["balancer"]["socket"].as_str(), stage.socket().to_str());
    assert_eq!(told["fleet"]["seed"].as_str(), Some("(secret)"), "{text}");
    page.evaluate(unfold);
}

/// Chooses what is wanted of a backend of `web`, and confirms it.
fn order(page: &mut Page, backend: &str, state: &str) {
    page.evaluate(&format!(
        "document.querySelector('[data-key=web] [data-key={backend}] .orders button').click()"
    ));
    page.wait_for("the question", "document.getElementById('change').open");
    assert_eq!(page.evaluate("document.getElementById('change-do').disabled"), true, "nothing is chosen yet");
    page.evaluate(&format!("document.querySelector('#change [value={state}]').click()"));
    page.evaluate("document.getElementById('change-do').click()");
}

fn take_pictures(page: &mut Page, directory: &Path) {
    pictures::pause();
    for (name, glass) in [("dashboard", DESKTOP), ("dashboard-dark", DARK), ("dashboard-phone", PHONE)] {
        page.look_through(glass);
        page.evaluate("new Promise((drawn) => setTimeout(drawn, 1500))");
        fs::write(directory.join(format!("{name}.png")), page.picture()).unwrap();
    }
}
