//! `tcp`, `http`, `https` and `tls` against nginx.

use std::{fs, path::Path, process::Command};

use lb_tests::{
    process::{Process, wait_until},
    temporary,
    topology::{Host, Lan},
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    certificate::{Authority, Lifetime},
    clinic::{Clinic, Patient, lan},
};

/// What the server is called.
const NAME: &str = "www.example.org";

/// An nginx that serves the files of a directory: HTTP/1.1 at 80, HTTP/2 at 8080, and both over TLS at 443.
struct Web {
    process: Process,
    directory: TempDir,
    authority: Authority,
}

impl Web {
    fn start(host: &Host) -> Self {
        let (directory, authority) =
            (temporary::directory("web").unwrap(), Authority::new("the web's authority"));
        authority.write(directory.path());
        authority.sign(directory.path(), NAME, Lifetime::Days(30));
        fs::write(directory.path().join("health"), "all is ready\n").unwrap();
        let process = nginx(host, directory.path());
        Self { process, directory, authority }
    }

    fn says(&self, text: &str) {
        fs::write(self.directory.path().join("health"), text).unwrap();
    }

    /// Shows what `authority` signs for `name` from now on.
    fn show(&mut self, host: &Host, authority: &Authority, (name, lifetime): (&str, Lifetime)) {
        authority.sign(self.directory.path(), name, lifetime);
        self.restart(host);
    }

    fn restart(&mut self, host: &Host) {
        self.process.signal(Signal::KILL).unwrap();
        self.process.wait(crate::clinic::DEADLINE).unwrap();
        self.process = nginx(host, self.directory.path());
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// No master, no workers, so killing the process is killing the server.
const CONFIGURATION: &str = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\nevents {}\n\
    http {\naccess_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
    uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n\
    server { listen 80; root .; }\nserver { listen 8080 http2; root .; }\n\
    server { listen 443 ssl http2; root .; ssl_certificate cert.pem; ssl_certificate_key key.pem; }\n}\n";

fn nginx(host: &Host, directory: &Path) -> Process {
    let text = CONFIGURATION.replace("root .;", &format!("root {};", directory.display()));
    fs::write(directory.join("nginx.conf"), text).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p"]).arg(directory).args(["-c", "nginx.conf"]);
    let mut process = Process::spawn(&host.netns, "nginx", &mut command).unwrap();
    let listens = || host.netns.run(|| std::net::TcpStream::connect((host.v4, 443)).is_ok()).unwrap();
    wait_until(crate::clinic::DEADLINE, "nginx", || !process.is_running() || listens()).unwrap();
    process.check().unwrap();
    process
}

#[test]
fn web_server_is_judged_by_what_it_answers() {
    let lan = lan(1);
    let host = &lan.backends[0];
    let mut web = Web::start(host);
    let asks = "path = \"/health\"\nbody = \"ready\"";
    let mut clinic = Clinic::open(
        &lan,
        &[
            Patient::tcp("tcp", "type = \"tcp\"\nport = 80"),
            Patient::tcp("http", format!("type = \"http\"\nport = 80\n{asks}")),
            Patient::tcp("h2", format!("type = \"http\"\nport = 8080\nhttp_version = \"2\"\n{asks}")),
        ],
    );
    let (http, all) = (["http", "h2"], ["tcp", "http", "h2"]);

    fs::remove_file(web.path("health")).unwrap();
    clinic.wait_down(&http, "status 404, expected 200-299");
    clinic.wait_up(&["tcp"]);
    web.says("all is ready\n");
    clinic.wait_up(&all);

    web.says("still starting\n");
    clinic.wait_down(&http, "the body does not hold \"ready\"");
    web.says("all is ready\n");
    clinic.wait_up(&all);

    web.process.signal(Signal::STOP).unwrap();
    clinic.wait_down(&http, "timed out after 300ms, waiting for the answer");
    clinic.wait_up(&["tcp"]);
    web.process.signal(Signal::CONT).unwrap();
    clinic.wait_up(&all);

    web.process.signal(Signal::KILL).unwrap();
    clinic.wait_down(&all, "connection refused");
    web.process.wait(crate::clinic::DEADLINE).unwrap();
    web.process = nginx(host, web.directory.path());
    clinic.wait_up(&all);

    black_hole(&lan, "add");
    clinic.wait_down(&all, "timed out after 300ms, waiting for the connection");
    black_hole(&lan, "del");
    clinic.wait_up(&all);
}

/// Makes the backend's answers vanish.
fn black_hole(lan: &Lan, action: &str) {
    lan.backends[0].netns.ip(&format!("route {action} blackhole {}/32", lan.balancer.v4)).unwrap();
}

#[test]
fn certificates_are_verified() {
    let lan = lan(1);
    let host = &lan.backends[0];
    let mut web = Web::start(host);
    let ca = format!("ca = \"{}\"", web.path("ca.pem"));
    let mut clinic = Clinic::open(
        &lan,
        &[
            Patient::tcp("tls", format!("type = \"tls\"\nport = 443\nserver_name = \"{NAME}\"\n{ca}")),
            Patient::tcp(
                "https",
                format!("type = \"https\"\nport = 443\nhost = \"{NAME}\"\npath = \"/health\"\n{ca}"),
            ),
            Patient::tcp(
                "h2",
                format!(
                    "type = \"https\"\nport = 443\nhttp_version = \"2\"\nhost = \"{NAME}\"\npath = \"/health\"\n{ca}"
                ),
            ),
            Patient::tcp("blind", "type = \"https\"\nport = 443\nverify = false\npath = \"/health\""),
        ],
    );
    let verified = ["tls", "https", "h2"];

    let signer = std::mem::replace(&mut web.authority, Authority::new("another authority"));
    web.authority.write(web.directory.path());
    clinic.wait_down(&verified, "certificate is from an unknown issuer");
    signer.write(web.directory.path());
    clinic.wait_up(&verified);

    web.show(host, &signer, (NAME, Lifetime::EndedDaysAgo(3)));
    clinic.wait_down(&verified, "certificate expired 3 days ago");
    clinic.wait_up(&["blind"]);
    web.show(host, &signer, (NAME, Lifetime::Days(30)));
    clinic.wait_up(&verified);

    web.show(host, &signer, ("other.example.org", Lifetime::Days(30)));
    let reason = "certificate is not for www.example.org, but for other.example.org";
    clinic.wait_down(&verified, reason);
    clinic.wait_up(&["blind"]);
    web.show(host, &signer, (NAME, Lifetime::Days(30)));
    clinic.wait_up(&verified);

    web.process.signal(Signal::STOP).unwrap();
    clinic.wait_down(&["tls"], "timed out after 300ms, waiting for the TLS handshake");
    web.process.signal(Signal::CONT).unwrap();
    clinic.wait_up(&verified);
}

#[test]
fn what_is_not_tls_is_called_so() {
    let lan = lan(1);
    let _web = Web::start(&lan.backends[0]);
    let mut clinic = Clinic::admit(
        &lan,
        &[
            Patient::tcp("tls", "type = \"tls\"\nport = 80\nverify = false"),
            Patient::tcp("http", "type = \"http\"\nport = 8080"),
        ],
    );
    clinic.wait_down(&["tls"], "the answer is not TLS");
    clinic.wait_down(&["http"], "the answer is not HTTP");
}
