//! `sluice top` on a real terminal, beside a real daemon with traffic.

use std::{fs, path::Path, process::Command};

use lb_tests::{balancer::binary, process::wait_until, topology::Lan};
use rustix::process::{Pid, Signal, kill_process};

use crate::{browser::Browser, pictures, site::DEADLINE, stage::Stage, terminal::Terminal};

fn top(socket: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(binary().unwrap());
    command.args(["top", "--interval", "200ms", "--socket"]).arg(socket).args(options);
    command
}

#[test]
fn backend_is_drained_by_keys_and_the_screen_follows() {
    let lan = Lan::new().unwrap();
    let mut stage = Stage::set(&lan);
    stage.stop(3);
    let mut terminal = Terminal::run(&lan.balancer.netns, &top(&stage.socket(), &[]), 130, 30);
    terminal.wait_for("services", |text| text.contains("203.0.113.10:80/tcp"));

    // Into the first service, and to its second backend.
    terminal.press("\r");
    terminal.wait_for("the service", |text| text.contains("backends of web"));
    terminal.wait_for("its backend that is down", |text| text.contains("down: "));
    terminal.press("jd");
    terminal.wait_for("the question", |text| text.contains("drain web/b2?"));
    assert_eq!(stage.admin("b2"), "ready", "nothing is done before it is confirmed");
    terminal.press("y");
    terminal.wait_for("the answer", |text| text.contains("web/b2 drains by command"));
    wait_until(DEADLINE, "the drain", || stage.admin("b2") == "drain").unwrap();
    terminal.wait_for("the state", |text| {
        text.lines().any(|line| line.contains("b2") && line.contains("drain, up") && line.contains(" 0.0 %"))
    });
    terminal.wait_for("rates of the others", |text| {
        let mut rows = text.lines().filter(|line| line.contains(" b1 "));
        rows.any(|row| row.contains('%') && row.chars().any(|bar| ('▂'..='█').contains(&bar)))
    });
    terminal.wait_for("the change of the backend", |text| text.contains("admin drain: by command"));
    terminal.wait_for("the changes of the table", |text| text.matches(" % moved").count() == 3);
    if let Some(pictures) = pictures::wanted() {
        take_picture(&stage, &terminal, &pictures);
    }

    stage.restart(|| {
        terminal.wait_for("that the daemon is lost", |text| text.contains("LOST: no sluice answers"));
    });
    terminal.wait_for("the next daemon", |text| !text.contains("LOST") && text.contains("drain, up"));
    terminal.press("r");
    terminal.wait_for("the question", |text| text.contains("ready web/b2?"));
    terminal.press("y");
    terminal.wait_for("the answer", |text| text.contains("web/b2 is ready"));
    assert_eq!(stage.admin("b2"), "ready");

    weigh(&stage, &mut terminal);

    assert!(!terminal.is_given_back());
    terminal.press("q");
    assert!(terminal.wait().success());
    wait_until(DEADLINE, "the terminal to be given back", || terminal.is_given_back()).unwrap();
}

/// Gives the chosen backend twice its weight, beside one of 1 and one of 2.
fn weigh(stage: &Stage<'_>, terminal: &mut Terminal) {
    terminal.press("w99999\r");
    terminal
        .wait_for("what is wrong", |text| text.contains("\"99999\" is no weight; expected a number from 0"));
    assert_eq!(stage.weight("b2"), 1, "nothing is done before it is a weight");
    terminal.press("\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}2\r");
    terminal.wait_for("the question", |text| text.contains("weigh web/b2?"));
    assert_eq!(stage.weight("b2"), 1, "nor before it is confirmed");
    terminal.press("y");
    terminal.wait_for("the answer", |text| text.contains("web/b2 has weight 2"));
    assert_eq!(stage.weight("b2"), 2);
    terminal.wait_for("its share", |text| {
        text.lines().any(|line| line.contains("b2") && line.contains(" 40.0 %"))
    });
}

#[test]
fn terminal_is_given_back_to_whoever_ends_it() {
    let lan = Lan::new().unwrap();
    let stage = Stage::set(&lan);
    let end: [fn(&mut Terminal); 2] = [
        |terminal| terminal.press("\u{3}"),
        |terminal| kill_process(Pid::from_raw(terminal.id().cast_signed()).unwrap(), Signal::TERM).unwrap(),
    ];
    for end in end {
        let mut terminal = Terminal::run(&lan.balancer.netns, &top(&stage.socket(), &[]), 80, 24);
        terminal.wait_for("services", |text| text.contains("backends of web"));
        end(&mut terminal);
        assert!(terminal.wait().success());
        wait_until(DEADLINE, "the terminal to be given back", || terminal.is_given_back()).unwrap();
    }

    let once = lan.balancer.netns.output(&mut top(&stage.socket(), &["--once", "--size", "80x24"])).unwrap();
    assert!(once.contains("backends of web") && !once.contains('\u{1b}'), "{once}");
    assert!(once.lines().count() <= 24 && once.lines().all(|line| line.chars().count() <= 80), "{once}");
}

/// Of a service.
fn take_picture(stage: &Stage<'_>, terminal: &Terminal, directory: &Path) {
    let browser = Browser::start(&stage.lan.client.netns);
    pictures::pause();
    let file = directory.join("top-service.html");
    fs::write(&file, terminal.html()).unwrap();
    let mut page = browser.open(&format!("file://{}", file.display()));
    fs::write(directory.join("top-service.png"), page.picture_of("pre")).unwrap();
    fs::remove_file(file).unwrap();
}
