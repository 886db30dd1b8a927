//! A real pseudo-terminal with a command in it, and an emulator that shows what stands on it.

use std::{
    fmt::Write as _,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use lb_tests::{netns::Netns, process::wait_until};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use vt100::{Color, Parser};

use crate::site::DEADLINE;

/// Dropping it kills the command.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    emulator: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// Runs `command` in `netns` on a terminal of this size, as the leader of a session that the terminal controls.
    pub(crate) fn run(netns: &Netns, command: &Command, columns: u16, lines: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || -> OwnedFd {
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm-256color");
        session.env_remove("NO_COLOR").stdin(slave()).stdout(slave()).stderr(slave());
        let child = netns.spawn(&mut session).unwrap();
        let master = File::from(master);
        let emulator =
            Arc::new(Mutex::new(Parser::new(lines.try_into().unwrap(), columns.try_into().unwrap(), 0)));
        let (mut output, shown) = (master.try_clone().unwrap(), Arc::clone(&emulator));
        // Ends with the terminal, whose other end is closed once the command is gone.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { child, master, emulator }
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What stands on it.
    pub(crate) fn text(&self) -> String {
        self.emulator.lock().unwrap().screen().contents()
    }

    /// Waits until what stands on it meets `condition`.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) {
        if let Err(error) = wait_until(DEADLINE, what, || condition(&self.text())) {
            panic!("{error}; the terminal shows:\n{}", self.text());
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the command.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(DEADLINE, "the command to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .unwrap();
        status.unwrap()
    }

    /// Whether it is as a shell wants it: lines and their echo, the cursor, the usual page.
    pub(crate) fn is_given_back(&self) -> bool {
        let modes = tcgetattr(&self.master).unwrap().local_modes;
        let emulator = self.emulator.lock().unwrap();
        let screen = emulator.screen();
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
            && !screen.alternate_screen()
            && !screen.hide_cursor()
    }

    /// What stands on it as a web page, for a picture.
    pub(crate) fn html(&self) -> String {
        let emulator = self.emulator.lock().unwrap();
        let screen = emulator.screen();
        let (lines, columns) = screen.size();
        let mut html = PAGE.to_owned();
        for line in 0..lines.get() {
            for column in 0..columns.get() {
                let Some(cell) = screen.cell(line, column) else { continue };
                let (mut front, mut back) =
                    (colour(cell.fgcolor(), "#d8dee4"), colour(cell.bgcolor(), "#14181c"));
                if cell.inverse() {
                    std::mem::swap(&mut front, &mut back);
                }
                let weight = if cell.bold() { 700 } else { 400 };
                let text = match cell.contents() {
                    "" => " ",
                    "&" => "&amp;",
                    "<" => "&lt;",
                    text => text,
                };
                write!(
                    html,
                    "<span style='color:{front};background:{back};font-weight:{weight}'>{text}</span>"
                )
                .unwrap();
            }
            html.push('\n');
        }
        html + "</pre>"
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only where the command has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the terminal\n{}\n---", self.text());
        }
    }
}

const PAGE: &str = "<!doctype html><meta charset='utf-8'><style>body{margin:0;background:#14181c}\
                    pre{display:inline-block;margin:0;padding:14px;font:14px/17px 'DejaVu Sans Mono',monospace}</style><pre>";

/// Of the colours that programs ask for by number; those of the terminal's owner elsewhere.
fn colour(colour: Color, usual: &str) -> String {
    match colour {
        Color::Idx(number) => [
            "#14181c", "#f0764a", "#3cc39a", "#e8b53a", "#6db3e8", "#b79be0", "#5cc8d6", "#d8dee4", "#84909b",
        ]
        .get(usize::from(number))
        .unwrap_or(&usual)
        .to_string(),
        Color::Rgb(red, green, blue) => format!("rgb({red},{green},{blue})"),
        Color::Default => usual.to_owned(),
    }
}
