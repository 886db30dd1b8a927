//! What the kernel knows of this process.

use std::{fs, io};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// CPU time that it has taken, in seconds.
    pub cpu_seconds: f64,
    /// Bytes that are in RAM.
    pub resident_bytes: u64,
    /// Bytes of its address space.
    pub virtual_bytes: u64,
    /// Its open file descriptors.
    pub open_fds: u64,
    /// The most that it may have; none: as many as it likes.
    pub max_fds: Option<u64>,
    /// When it began, in seconds since the host was started.
    pub started: f64,
}

impl Process {
    /// This one, now.
    ///
    /// # Errors
    ///
    /// Where `/proc` does not tell.
    pub fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let ticks = clock_ticks_per_second();
        let process = parse(&stat, ticks, page_size() as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("/proc/self/stat says {stat:?}"))
        })?;
        // The one that lists them is open too.
        let open_fds = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1) as u64;
        Ok(Self { open_fds, max_fds: getrlimit(Resource::Nofile).current, ..process })
    }
}

/// The fields of `/proc/PID/stat` (proc(5)), of which the second is a name that may have anything in it.
#[expect(clippy::cast_precision_loss, reason = "a time of years in ticks has fewer digits than that")]
fn parse(stat: &str, ticks_per_second: u64, page: u64) -> Option<Process> {
    /// The number of the first field behind the name.
    const FIRST: usize = 3;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - FIRST)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
    Some(Process {
        cpu_seconds: seconds(field(14)? + field(15)?),
        started: seconds(field(22)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
        open_fds: 0,
        max_fds: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 2000 0 1 0 150 50 0 0 20 0 4 0 12345 104857600 2560 \
                    18446744073709551615 1 1 0";
        let process = parse(stat, 100, 4096).unwrap();
        assert!((process.cpu_seconds - 2.0).abs() < 1e-9 && (process.started - 123.45).abs() < 1e-9);
        assert_eq!((process.virtual_bytes, process.resident_bytes), (104_857_600, 2560 * 4096));
        assert_eq!(parse("42 (x) S 1", 100, 4096), None);
    }

    #[test]
    fn this_process_is_known() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0 && process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(
            process.open_fds >= 3 && process.max_fds.is_none_or(|most| most >= process.open_fds),
            "{process:?}"
        );
        assert!(process.started > 0.0, "{process:?}");
    }
}
