//! Runs `synod` to its end, which always comes soon.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};

use crate::process::Running;
use crate::wait::until;

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Checks that the command succeeded and reported no error.
    pub(crate) fn stdout(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// Checks that the command failed, with these parts in its error. Log lines may stand before it.
    #[track_caller]
    pub(crate) fn failed_with(&self, parts: &[&str]) {
        // 5 says that the next start would fail as well.
        assert!([1, 5].contains(&self.code), "{self:?}");
        assert!(self.stderr.lines().any(|line| line.starts_with("error: ")), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "not in it: {part}\n{}", self.stderr);
        }
    }
}

/// A command that runs.
pub(crate) struct Begun {
    running: Running,
    stdout: File,
    stderr: File,
}

impl Begun {
    /// Begins to run `synod` with these arguments.
    pub(crate) fn synod<T: AsRef<str>>(args: &[T]) -> Self {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
        command.args(args.iter().map(AsRef::as_ref)).stdin(Stdio::null());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        Self { running: Running::start(&mut command), stdout, stderr }
    }

    /// The outcome, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<Done> {
        let status = self.running.0.try_wait().unwrap()?;
        let code = status.code().expect("nobody kills it");
        let (stdout, stderr) = (content(&mut self.stdout), content(&mut self.stderr));
        Some(Done { code, stdout, stderr })
    }
}

/// Runs `synod` with these arguments to its end.
pub(crate) fn synod<T: AsRef<str>>(args: &[T]) -> Done {
    let mut begun = Begun::synod(args);
    let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
    until(&format!("the end of synod {}", args.join(" ")), || begun.ended())
}

fn content(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}
