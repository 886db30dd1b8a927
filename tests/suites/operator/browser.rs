//! A real browser without a screen: Chromium, driven by its `DevTools` protocol.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use data_encoding::BASE64;
use lb_tests::{
    netns::Netns,
    process::{Process, wait_until},
    temporary,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client::client};

/// How long it may take to start or to show something; it is slow where others want the processors too.
const DEADLINE: Duration = Duration::from_secs(40);

/// Fields are dropped in order.
pub(crate) struct Browser<'net> {
    _process: Process,
    _profile: TempDir,
    address: SocketAddr,
    netns: &'net Netns,
}

/// A tab.
pub(crate) struct Page {
    socket: WebSocket<TcpStream>,
    calls: u64,
    events: Vec<Value>,
}

/// What a page is looked at with.
#[derive(Clone, Copy)]
pub(crate) struct Glass {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Device pixels for each.
    pub(crate) scale: u32,
    pub(crate) dark: bool,
}

impl<'net> Browser<'net> {
    /// Starts it in `netns`. It asks nobody for anything by itself.
    pub(crate) fn start(netns: &'net Netns) -> Self {
        let profile = temporary::directory("chromium").unwrap();
        let mut command = Command::new("chromium");
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]);
        command.args(["--disable-sync", "--remote-debugging-port=0", "about:blank"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut process = Process::spawn(netns, "chromium", &mut command).unwrap();
        let file = profile.path().join("DevToolsActivePort");
        let mut port = None;
        let started = || {
            port = fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.parse::<u16>().ok());
            port.is_some() || !process.is_running()
        };
        wait_until(DEADLINE, "chromium to start", started).unwrap();
        process.check().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
        Self { _process: process, _profile: profile, address, netns }
    }

    /// Opens a tab with this address, and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) -> Page {
        let new = format!("http://{}/json/new?about:blank", self.address);
        let told =
            self.netns.output(Command::new("curl").args(["--silent", "--request", "PUT", &new])).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let stream = self.netns.run(|| TcpStream::connect(self.address)).unwrap().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (socket, _) = client(told["webSocketDebuggerUrl"].as_str().unwrap(), stream).unwrap();
        let mut page = Page { socket, calls: 0, events: Vec::new() };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.call("Page.navigate", &json!({ "url": url }));
        page.wait_for("the page", "document.readyState === 'complete' && location.href !== 'about:blank'");
        page
    }
}

impl Page {
    /// Waits until an expression of JavaScript is true.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, expression: &str) {
        let end = std::time::Instant::now() + DEADLINE;
        while self.evaluate(expression) != true {
            lb_tests::interrupt::check().unwrap();
            if std::time::Instant::now() > end {
                let text = self.evaluate("document.body.innerText");
                panic!(
                    "waited in vain for {what}; errors {:?}; the page says:\n{}",
                    self.errors(),
                    text.as_str().unwrap_or_default()
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What an expression comes to; null where it fails.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        self.call("Runtime.evaluate", &parameters)["result"]["value"].take()
    }

    /// What went wrong on the page so far, by its console.
    pub(crate) fn errors(&self) -> Vec<String> {
        let is_error = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.events.iter().filter(is_error).map(|event| event["params"].to_string()).collect()
    }

    /// What the page has asked for so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Looks at it through another glass.
    pub(crate) fn look_through(&mut self, glass: Glass) {
        let Glass { width, height, scale, dark } = glass;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// A picture of what is seen of it, as PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        self.capture(&json!({ "format": "png" }))
    }

    /// A picture of one element.
    pub(crate) fn picture_of(&mut self, selector: &str) -> Vec<u8> {
        let bounds = format!(
            "(({{x, y, width, height}}) => ({{x, y, width, height, scale: 1}}))(document.querySelector('{selector}').getBoundingClientRect())"
        );
        let clip = self.evaluate(&bounds);
        self.capture(&json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }))
    }

    fn capture(&mut self, parameters: &Value) -> Vec<u8> {
        let told = self.call("Page.captureScreenshot", parameters);
        BASE64.decode(told["data"].as_str().unwrap().as_bytes()).unwrap()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let call = json!({ "id": self.calls, "method": method, "params": parameters });
        self.socket.send(Message::text(call.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut told: Value = serde_json::from_str(&text).unwrap();
            if told["id"] == self.calls {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].take();
            }
            self.events.push(told);
        }
    }
}
