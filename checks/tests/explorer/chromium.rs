//! Chromium without a window, driven over the `DevTools` protocol.
//!
//! The protocol is JSON in both directions, here over a pair of pipes. So it takes no crate, and no port
//! that others could connect to; and Chromium ends when the pipe is closed, even if the test crashes.
//! (Two crates for the protocol were considered. `headless_chrome` brings a TLS library and a crate
//! without a licence; `chromiumoxide` brings a hundred crates that take minutes to compile.)

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Options for a process of root without a network.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    // No host name is resolved, so nothing can be fetched from elsewhere unnoticed.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
];

/// Its pipes are file descriptors 3 and 4.
const START: &str = r#"exec chromium "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

/// The size of the window.
pub(crate) const WIDTH: u32 = 1280;
pub(crate) const HEIGHT: u32 = 800;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to end.
const END: Duration = Duration::from_secs(10);

/// A browser with one page open. It ends with this value, and its profile with it.
pub(crate) struct Chromium {
    process: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    last_id: u64,
    /// The session of the page, for messages to it; `None` before there is one.
    session: Option<String>,
    /// The addresses that the page requested.
    pub(crate) requested: BTreeSet<String>,
    /// The errors in the page.
    pub(crate) errors: Vec<String>,
    profile: TempDir,
}

impl Chromium {
    /// Starts Chromium with a new profile.
    pub(crate) fn start() -> Self {
        let profile = tempfile::Builder::new()
            .prefix("chromium-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder for the profile");
        let errors = fs::File::create(profile.path().join("errors")).expect("a file for errors");
        let mut process = Command::new("sh")
            .args(["-c", START, "sh"])
            .args(FLAGS)
            .arg(format!("--window-size={WIDTH},{HEIGHT}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Files in the home directory are removed with the profile.
            .env("HOME", profile.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("sh starts");
        let to = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, from) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|bytes| bytes > 0) {
                message.pop_if(|last| *last == 0);
                let message = serde_json::from_slice(&std::mem::take(&mut message));
                if sender.send(message.expect("JSON")).is_err() {
                    return;
                }
            }
        });
        let mut chromium = Self {
            process,
            to,
            from,
            last_id: 0,
            session: None,
            requested: BTreeSet::new(),
            errors: Vec::new(),
            profile,
        };
        chromium.open_page();
        chromium
    }

    fn open_page(&mut self) {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", &attach);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
        let size = json!({
            "width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        // In every document, so also after the page is loaded again.
        let look = json!({ "source": include_str!("look.js") });
        self.call("Page.addScriptToEvaluateOnNewDocument", &look);
    }

    /// Opens an address.
    pub(crate) fn go_to(&mut self, address: &str) {
        let went = self.call("Page.navigate", &json!({ "url": address }));
        assert!(went.get("errorText").is_none(), "{address} does not open: {went}");
    }

    /// The value of an expression in the page.
    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer:#}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression in the page is true.
    pub(crate) fn wait_for(&mut self, expression: &str, at_most: Duration) {
        let until = Instant::now() + at_most;
        // While a page is loaded, the expression may fail.
        let expression = format!("(() => {{ try {{ return {expression} }} catch {{}} }})()");
        while self.ask(&expression) != true {
            if Instant::now() > until {
                let text = self.ask("document.body.innerText");
                let text = text.as_str().unwrap_or_default();
                panic!(
                    "after {at_most:?} not yet: {expression}\n\nthe page:\n{text}\n\nits errors: {:#?}",
                    self.errors
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks with the mouse on the element that an expression names.
    pub(crate) fn click(&mut self, element: &str) {
        let at = self.ask(&format!("look.at({element})"));
        for event in ["mousePressed", "mouseReleased"] {
            self.mouse(event, &at);
        }
    }

    fn mouse(&mut self, event: &str, at: &Value) {
        let event = json!({
            "type": event, "x": at["x"], "y": at["y"], "button": "left", "clickCount": 1
        });
        self.call("Input.dispatchMouseEvent", &event);
    }

    /// Takes a picture of the window, with the mouse outside of it.
    pub(crate) fn screenshot(&mut self, file: &Path) {
        self.mouse("mouseMoved", &json!({ "x": 0, "y": 0 }));
        let taken = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = taken["data"].as_str().expect("a picture");
        let png = base64::prelude::BASE64_STANDARD.decode(data).expect("a picture");
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!((number(16), number(20)), (WIDTH, HEIGHT), "{}", file.display());
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder for pictures");
        fs::write(file, png).expect("a picture is written");
    }

    /// Calls a method of Chromium, and returns its result.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = write!(self.to.as_mut().expect("a pipe"), "{message}\0");
        let until = Instant::now() + ANSWER;
        while sent.is_ok() {
            let left = until.saturating_duration_since(Instant::now());
            match self.from.recv_timeout(left) {
                Ok(mut message) if message["id"] == id => {
                    assert!(message.get("error").is_none(), "{method}: {message}");
                    return message["result"].take();
                }
                Ok(event) => self.note(&event),
                Err(RecvTimeoutError::Timeout) => panic!("no answer to {method} in {ANSWER:?}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let errors = fs::read_to_string(self.profile.path().join("errors")).unwrap_or_default();
        panic!(
            "Chromium does not run, and this test needs it (`apt install chromium fonts-dejavu-core \
             fonts-noto-color-emoji`); it said:\n{errors}"
        );
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requested.extend(params["request"]["url"].as_str().map(str::to_owned));
            }
            Some("Runtime.exceptionThrown") => self.errors.push(params.to_string()),
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                // A browser asks every server for an icon. The explorer has none.
                let is_icon = entry["url"].as_str().is_some_and(|it| it.ends_with("/favicon.ico"));
                if entry["level"] == "error" && !is_icon {
                    self.errors.push(entry.to_string());
                }
            }
            _ => {}
        }
    }

    /// Ends Chromium, and asserts that none of its processes is left.
    pub(crate) fn end(self) {
        let profile = self.profile.path().to_owned();
        drop(self);
        assert_eq!(processes_of(&profile), Vec::<String>::new(), "still run");
        assert!(!profile.exists(), "{} is still there", profile.display());
    }
}

/// Chromium ends however the test does.
impl Drop for Chromium {
    fn drop(&mut self) {
        // Chromium ends when its pipe is closed, and writes its files to the end.
        self.to = None;
        let until = Instant::now() + END;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        if let Ok(group) = i32::try_from(self.process.id()) {
            _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        _ = self.process.wait();
        let until = Instant::now() + END;
        while !processes_of(self.profile.path()).is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The processes that were started with this profile.
fn processes_of(profile: &Path) -> Vec<String> {
    let profile = profile.to_str().expect("plain letters");
    let processes = fs::read_dir("/proc").expect("a list of processes").flatten();
    let commands = processes.map(|it: fs::DirEntry| -> PathBuf { it.path().join("cmdline") });
    commands
        .filter_map(|file| fs::read(file).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|command| command.contains(profile))
        .collect()
}
