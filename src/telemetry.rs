//! What the process says on standard error: the log, and why a command has failed.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

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

/// Starts logging. A panic is logged as an error that names its place.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("log level {filter:?}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
    Ok(())
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
