//! The `exec` probe: a backend passes when a program on this host ends with 0. What it prints first is the reason.
//!
//! There is no shell, and nothing of the daemon's environment: the program is told whom to look at by `SLUICE_SERVICE`,
//! `SLUICE_BACKEND`, `SLUICE_ADDRESS` and `SLUICE_PORT`. It leads a process group of its own, all of which is killed
//! when its time is over.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, process::Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use super::{
    super::{Job, Outcome},
    shown,
};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of what a program prints is kept.
const KEPT_BYTES: usize = 512;

/// Runs the program to its end.
pub(super) async fn check(job: &Job, command: &[String]) -> Result<(), Outcome> {
    let mut child = spawn(job, command)?;
    let mut group = Group::of(&child);
    job.stage.waits_for("the program's end");
    let (out, err) = tokio::join!(printed(child.stdout.take()), printed(child.stderr.take()));
    let status = child.wait().await;
    // Its number may be somebody else's from here on.
    group.0 = None;
    let status =
        status.map_err(|error| Outcome::Inconclusive(format!("cannot wait for a program: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let line = |text: &[u8]| text.split(|byte| *byte == b'\n').find(|line| !line.is_empty()).map(shown);
    let said = line(&out).or_else(|| line(&err)).map(|line| format!(": {line}"));
    Err(Outcome::Failed(format!("{}{}", ended(status), said.unwrap_or_default())))
}

fn spawn(job: &Job, command: &[String]) -> Result<Child, Outcome> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Outcome::Inconclusive("there is no program to run".to_owned()));
    };
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("SLUICE_SERVICE", &job.key.service)
        .env("SLUICE_BACKEND", &job.key.backend)
        .env("SLUICE_ADDRESS", job.address.ip().to_string())
        .env("SLUICE_PORT", job.address.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    spawned.map_err(|error| Outcome::Inconclusive(format!("cannot run {program}: {error}")))
}

/// The beginning of what a program prints. The rest is read too, since it would stop at a full pipe.
async fn printed(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut chunk = [0; 512];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        let room = KEPT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
    kept
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    }
}

/// The processes of a program, killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails where all of them have ended.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::test_kill_process;
    use tokio::time::timeout;

    use super::{
        super::tests::{failed, probe},
        *,
    };
    use crate::config::Check;

    async fn run(script: &str) -> Outcome {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        probe(Check::Exec(command), "192.0.2.7:80".parse().unwrap()).await
    }

    #[tokio::test]
    async fn exit_status_decides_and_the_first_line_is_the_reason() {
        assert_eq!(run("exit 0").await, Outcome::Passed);
        assert_eq!(run("exit 3").await, failed("exit status 3"));
        assert_eq!(run("echo; echo lag 20s; echo more; exit 1").await, failed("exit status 1: lag 20s"));
        assert_eq!(run("echo no disk >&2; exit 2").await, failed("exit status 2: no disk"));
        assert_eq!(run("kill -9 $$").await, failed("ended by signal 9"));
    }

    #[tokio::test]
    async fn program_is_told_whom_to_look_at_and_nothing_else() {
        let script = "echo $SLUICE_SERVICE $SLUICE_BACKEND $SLUICE_ADDRESS $SLUICE_PORT $HOME; exit 1";
        assert_eq!(run(script).await, failed("exit status 1: web b1 192.0.2.7 80"));
    }

    #[tokio::test]
    async fn program_that_prints_much_ends() {
        assert_eq!(run("head -c 1000000 /dev/zero; exit 0").await, Outcome::Passed);
    }

    #[tokio::test]
    async fn missing_program_says_nothing_of_the_backend() {
        let check = Check::Exec(vec!["/nowhere/check".to_owned()]);
        let outcome = probe(check, "192.0.2.7:80".parse().unwrap()).await;
        let said = "cannot run /nowhere/check: No such file or directory (os error 2)";
        assert_eq!(outcome, Outcome::Inconclusive(said.to_owned()));
    }

    #[tokio::test]
    async fn whole_group_is_killed_when_the_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let pid = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&file) {
                    return text.trim().parse().ok().and_then(Pid::from_raw).unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        let started = tokio::select! {
            outcome = run(&script) => panic!("{outcome:?}"),
            pid = timeout(Duration::from_secs(10), pid) => pid.expect("the program starts"),
        };
        let gone = async {
            while test_kill_process(started).is_ok() && !is_zombie(started) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("the program's child ends");
    }

    /// Whether a process has ended and nobody has asked how.
    fn is_zombie(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    }
}
