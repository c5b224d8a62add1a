//! What the process says on standard error: the log, and why a command has failed.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::LogFormat;

/// An error with all its causes in one line: `a: b: c`. A cause that the text before it already ends with is left out.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        before if before.ends_with(&cause) => text,
        before => format!("{before}: {cause}"),
    })
}

/// What is logged. It can be changed while the process runs.
pub struct Level {
    /// The filter of the command line, for when the configuration has none.
    first: String,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl Level {
    /// Logs what this filter says from now on, or what the command line says if it is `None`. A filter that is none changes nothing, and the
    /// log says so.
    pub fn set(&self, filter: Option<&str>) {
        let filter = filter.unwrap_or(&self.first);
        let replaced = parse(filter).and_then(|parsed| Ok((self.replace)(parsed)?));
        if let Err(error) = replaced {
            tracing::error!(error = chain(&error), "the level of the log stays as it is");
        }
    }
}

/// Reads a level or a filter.
pub fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| format!("log level {filter:?}"))
}

/// Starts logging. A panic is logged as an error that names its place.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<Level> {
    let log = tracing_subscriber::fmt().with_env_filter(parse(filter)?).with_writer(std::io::stderr);
    let replace: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync> = match format {
        LogFormat::Human => {
            let log =
                log.with_ansi(std::io::stderr().is_terminal()).with_target(false).with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |filter| handle.reload(filter))
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
    Ok(Level { first: filter.to_owned(), replace })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::SysError;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let reason = std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(SysError::new("open", "/a", reason)).context("read the file");
        assert_eq!(chain(&error), "read the file: open /a: No such file or directory (os error 2)");
        assert_eq!(chain(&anyhow::anyhow!("alone")), "alone");
    }
}
