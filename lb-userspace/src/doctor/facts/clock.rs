//! Whether somebody sets the kernel's clock. Only the kernel knows (adjtimex(2)), and is asked through programs that hosts have.

use std::process::Command;

/// `STA_UNSYNC` of linux/timex.h.
const UNSYNCHRONISED: u32 = 0x40;

/// What the first of these programs says that says anything.
pub(super) fn synchronised() -> Option<bool> {
    by_systemd(&said("timedatectl", &["show", "--property=NTPSynchronized", "--value"]))
        .or_else(|| by_chrony(&said("chronyc", &["-c", "tracking"])))
        .or_else(|| by_adjtimex(&said("adjtimex", &["--print"])))
}

/// Nothing where there is no such program.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn by_systemd(said: &str) -> Option<bool> {
    match said {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The last of its fields is what it says of leap seconds.
fn by_chrony(said: &str) -> Option<bool> {
    let (_, leap) = said.rsplit_once(',')?;
    Some(leap != "Not synchronised")
}

fn by_adjtimex(said: &str) -> Option<bool> {
    let status = said.lines().find_map(|line| line.trim().strip_prefix("status:"))?;
    let status: u32 = status.trim().parse().ok()?;
    Some(status & UNSYNCHRONISED == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_understood() {
        assert_eq!([by_systemd("yes"), by_systemd("no"), by_systemd("")], [Some(true), Some(false), None]);
        let chrony = "A9FEA97B,169.254.169.123,4,1748.1,0.000001,64.3,";
        assert_eq!(by_chrony(&format!("{chrony}Normal")), Some(true));
        assert_eq!(by_chrony(&format!("{chrony}Not synchronised")), Some(false));
        assert_eq!(by_chrony(""), None);
        assert_eq!(by_adjtimex("         mode: 0\n       status: 64\n"), Some(false));
        assert_eq!(by_adjtimex("         mode: 0\n       status: 8193\n"), Some(true));
        assert_eq!(by_adjtimex(""), None);
    }
}
