//! curl, as what speaks to the API.

use std::process::Command;

use serde_json::Value;

use crate::{contract, site::Site};

/// Where the API listens over TCP, in the namespace of each test.
pub(crate) const TCP: &str = "http://127.0.0.1:9901";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// 0 where there was no answer.
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// Its content type.
    pub(crate) kind: String,
    /// As JSON where it is some, otherwise as a string.
    pub(crate) body: Value,
}

impl Reply {
    /// Its body, which must come with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }
}

/// Runs curl with `arguments` in the site's namespace. Its answer must be one that the document has.
pub(crate) fn curl(site: &Site, arguments: &[&str]) -> Reply {
    const REPORT: &str = "\n%{http_code} %header{etag} %{content_type}";
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "15", "--write-out", REPORT]).args(arguments);
    let answer = site.command(&mut curl);
    let (body, report) = answer.stdout.rsplit_once('\n').unwrap();
    let [status, etag, kind] = report.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let reply = Reply {
        status: status.parse().unwrap(),
        etag: (!etag.is_empty()).then(|| etag.to_owned()),
        kind: kind.to_owned(),
        body: serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)),
    };
    contract::check(arguments, &reply);
    reply
}

/// The same through the Unix socket.
pub(crate) fn ask(site: &Site, path: &str, arguments: &[&str]) -> Reply {
    let (socket, url) = (site.socket(), format!("http://sluice{path}"));
    curl(site, &[&["--unix-socket", socket.to_str().unwrap(), &url], arguments].concat())
}

/// What the kernel holds: everything that a change could change.
pub(crate) fn kernel(site: &Site) -> Vec<Value> {
    let dump = |map: &str| {
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["--json", "map", "dump", "pinned"]).arg(site.pins.path().join(map));
        serde_json::from_str(&lb_tests::process::output(&mut bpftool).unwrap()).unwrap()
    };
    ["services", "service_index", "backends", "arena"].map(dump).to_vec()
}
