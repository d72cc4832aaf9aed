//! `synod-check explore` as a process beside the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);

/// The explorer of a scenario. It ends with this value.
pub(crate) struct Served {
    process: Child,
    /// The address of its page: `http://127.0.0.1:1234/pipeline/`.
    pub(crate) address: String,
}

impl Served {
    /// Serves a scenario on a free port.
    pub(crate) fn start(scenario: &str) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_synod-check"))
            .args(["explore", scenario, "--address", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("synod-check starts");
        let mut served = Self { process, address: String::new() };
        let output = BufReader::new(served.process.stdout.take().expect("a pipe"));
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            _ = sender.send(lines.find(|line| line.trim().starts_with("http://")));
            // The process would end if its output were not read.
            lines.for_each(drop);
        });
        let address = receiver.recv_timeout(START).expect("synod-check says where it serves");
        served.address = address.unwrap_or_else(|| served.failed()).trim().into();
        // It prints its address just before it listens there.
        let host = served.address.split('/').nth(2).expect("a host").to_owned();
        let until = Instant::now() + START;
        while TcpStream::connect(&host).is_err() {
            assert!(Instant::now() < until, "nobody serves {}", served.address);
            thread::sleep(Duration::from_millis(20));
        }
        served
    }

    fn failed(&mut self) -> ! {
        _ = self.process.kill();
        let mut errors = String::new();
        let pipe = self.process.stderr.as_mut().expect("a pipe");
        _ = pipe.read_to_string(&mut errors);
        panic!("synod-check explore serves nothing: {errors}");
    }

    /// Ends the process, and asserts that it was still running.
    pub(crate) fn end(mut self) {
        if let Ok(Some(status)) = self.process.try_wait() {
            panic!("synod-check explore ended: {status}");
        }
    }
}

/// The process ends however the test does.
impl Drop for Served {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
