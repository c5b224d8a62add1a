//! The configuration that a command works with.

use crate::config::on_exports::OnExports;
use crate::config_file;
use crate::volume::policy::settings::Settings;

/// What the file of the arguments says. Without a file, everything has its default.
pub(super) fn settings_of(on: &OnExports) -> anyhow::Result<Settings> {
    on.config.as_deref().map_or_else(|| Ok(Settings::default()), config_file::load)
}
