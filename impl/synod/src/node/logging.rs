//! The log of a node: what goes into it, and how its lines look.

use std::ffi::OsString;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Deserialize;
use tracing::{error, warn};
use tracing_subscriber::EnvFilter;

use crate::exit::UsageError;
use crate::log_writer::LogWriter;

/// The format of a node's log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document on each line
    Json,
}

/// Starts to log to standard error. `SYNOD_LOG` is the filter.
pub(super) fn begin_log(format: LogFormat) -> anyhow::Result<LogWriter> {
    let filter = filter(std::env::var_os("SYNOD_LOG"))?;
    let report_left_out = |lines| warn!(lines, "left out: standard error is not read fast enough");
    let log_writer = LogWriter::start(anstream::stderr(), report_left_out)
        .context("the thread that writes to standard error cannot be started")?;
    let writer = log_writer.clone();
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match format {
        LogFormat::Text => subscriber.with_ansi(is_terminal).with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    log_panics();
    Ok(log_writer)
}

/// The filter that `SYNOD_LOG` holds, such as `debug` or `synod_node=debug`. Any word would be the name of
/// a module, and then a misspelt level is silence.
fn filter(text: Option<OsString>) -> Result<EnvFilter, UsageError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let Some(text) = text.filter(|it| !it.is_empty()) else {
        return Ok(EnvFilter::new("info"));
    };
    let text = text.to_string_lossy().into_owned();
    let is_known = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        let is_level = LEVELS.iter().any(|it| level.eq_ignore_ascii_case(it));
        directive.starts_with("synod") && (is_level || !directive.contains('=')) || {
            is_level && !directive.contains('=')
        }
    };
    let filter = EnvFilter::builder().parse(&text).ok();
    filter.filter(|_| text.split(',').map(str::trim).all(is_known)).ok_or_else(|| {
        UsageError(format!(
            "SYNOD_LOG is `{text}`, which is no filter of log lines\n  write a level (off, error, \
             warn, info, debug, trace), or MODULE=LEVEL with a module of synod, such as \
             synod_node=debug, or several with commas between them"
        ))
    })
}

/// A panic is a line of the log too.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name").to_owned();
        error!(%thread, backtrace = %std::backtrace::Backtrace::capture(), "{panic}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_filters_is_a_filter() {
        for text in
            ["", "info", "DEBUG", "synod=trace", "warn,synod_node::peers=debug", "synod_node"]
        {
            assert!(filter(Some(text.into())).is_ok(), "{text}");
        }
        assert!(filter(None).is_ok());
        for text in ["debgu", "synod=loud", "info,", "=", "tokio=info", "7=x"] {
            let error = filter(Some(text.into())).expect_err("it filters nothing");
            assert!(error.0.starts_with(&format!("SYNOD_LOG is `{text}`")), "{}", error.0);
        }
    }
}
