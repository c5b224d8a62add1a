//! What the process says on standard error: the log, and why a command has failed.

use std::io::IsTerminal;

use anyhow::{Context, ensure};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

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
    handle: reload::Handle<Targets, Registry>,
}

impl Level {
    /// Logs what this filter says from now on, or what the command line says if it is `None`. A filter that is none changes nothing, and the
    /// log says so.
    pub fn set(&self, filter: Option<&str>) {
        let filter = filter.unwrap_or(&self.first);
        let replaced = parse(filter).and_then(|parsed| Ok(self.handle.reload(parsed)?));
        if let Err(error) = replaced {
            tracing::error!(error = chain(&error), "the level of the log stays as it is");
        }
    }
}

/// Reads a level (`error`, `warn`, `info`, `debug`, `trace` or `off`), or a list of levels, each for a part of the program, such as
/// `info,nfs_subdir_csi::volume=debug`.
pub fn parse(filter: &str) -> anyhow::Result<Targets> {
    // `Targets` takes any other word for a part of the program. A misspelt level would switch the log off.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let unclear = || {
        format!(
            "log level {filter:?} is neither error, warn, info, debug, trace or off, nor a list of such levels for parts of the program, such \
             as info,nfs_subdir_csi::volume=debug"
        )
    };
    ensure!(filter.split(',').all(|part| part.contains('=') || is_level(part)), unclear());
    filter.parse().with_context(unclear)
}

/// Starts logging. A panic is logged as an error that names its place.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<Level> {
    let (filtered, handle) = reload::Layer::new(parse(filter)?);
    let log = fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    Registry::default().with(filtered).with(log).init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
    Ok(Level { first: filter.to_owned(), handle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::SysError;

    #[test]
    fn a_misspelt_level_is_refused() {
        for right in ["info", "WARN", "off", "info,nfs_subdir_csi::volume=debug", "h2=trace,error"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["", "verbose", "inf", "info,nfs_subdir_csi", "h2=loud", "info,"] {
            let refused = format!("{:#}", parse(wrong).unwrap_err());
            assert!(refused.starts_with(&format!("log level {wrong:?} is neither error, warn")), "{refused}");
        }
    }

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let reason = std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(SysError::new("open", "/a", reason)).context("read the file");
        assert_eq!(chain(&error), "read the file: open /a: No such file or directory (os error 2)");
        assert_eq!(chain(&anyhow::anyhow!("alone")), "alone");
    }
}
