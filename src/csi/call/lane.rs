//! Lanes: which calls share places. A server that does not answer delays only the calls that share places with calls to it.
//!
//! Each call that may block takes a place, and each place has a thread: the runtime may start [`THREADS`] of them, as many
//! as there can be places. So no call ever waits for the thread of another one.

use std::fmt;

use crate::linux::NfsSource;
use crate::volume::name::export::ExportRef;
use crate::volume::policy::settings::{ResolvedExport, Settings};

/// How many calls may run in the lane of one export at the same time, unless the configuration says otherwise.
pub const WIDTH: usize = 16;
/// How many places are reserved for each export. Calls to other exports cannot take them.
pub(super) const RESERVED: usize = 2;
/// How many more places the calls to all exports share.
pub(super) const SHARED_BY_CALLS: usize = 256;
/// How many more places the calls that wait for copies share, on all exports together.
pub(super) const SHARED_BY_COPIES: usize = 128;
/// The most exports that can have calls at the same time.
pub(super) const EXPORTS: usize = 256;
/// How many places a lane has that does not belong to an export.
pub(super) const FIXED: usize = 16;
/// How many threads there are for work that belongs to no call, such as unmounting exports that are not used.
const BACKGROUND: usize = 16;
/// The number of blocking threads that the runtime must be allowed to start.
pub const THREADS: usize =
    SHARED_BY_CALLS + SHARED_BY_COPIES + 2 * RESERVED * EXPORTS + 3 * FIXED + BACKGROUND;
/// Which calls share places. All lanes of the driver are in this list, so that a reader sees which calls can delay each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Calls that ask the server of one export. Two names of one server and share have the same lane.
    Export(NfsSource),
    /// Calls that wait for copies on one export. They take long, and must not delay short calls.
    Copies(NfsSource),
    /// `NodeUnpublishVolume`, which asks no server. No other call uses these places.
    Unpublish,
    /// Calls that look at all exports.
    Lists,
    /// Calls that end without asking any server, because what they name cannot exist.
    Local,
}

impl Lane {
    /// The lane of calls to this export. A call without an export, or with one that the configuration does not have or does not allow,
    /// asks no server.
    #[must_use]
    pub fn of_export(settings: &Settings, id: Option<&ExportRef>) -> Self {
        id.and_then(|id| settings.resolve(id).ok()).map_or(Self::Local, |export| Self::at(&export))
    }

    /// The lane of calls to this export, however it is named.
    #[must_use]
    pub fn at(export: &ResolvedExport) -> Self {
        export.place().map_or(Self::Local, Self::Export)
    }

    /// The lane of calls that wait for copies on the export of this lane.
    #[must_use]
    pub fn of_copies(self) -> Self {
        if let Self::Export(source) = self { Self::Copies(source) } else { self }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Export(source) => write!(f, "calls to {source}"),
            Self::Copies(source) => write!(f, "calls that wait for copies on {source}"),
            Self::Unpublish => f.write_str("NodeUnpublishVolume calls"),
            Self::Lists => f.write_str("calls for lists"),
            Self::Local => f.write_str("calls that name no known export"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::policy::settings::{ExportPolicy, NamedExport, PrivateOptions};

    #[test]
    fn an_export_has_one_lane_however_it_is_named() {
        let source = NfsSource { server: "nas.example".to_owned(), share: "/srv".to_owned() };
        let export = NamedExport {
            sources: vec![source.clone()],
            mount_options: PrivateOptions::default(),
            policy: ExportPolicy::default(),
        };
        let settings = Settings { exports: [("fast".to_owned(), export)].into(), ..Settings::default() };
        let lane = |text: &str| Lane::of_export(&settings, Some(&ExportRef::parse(text).unwrap()));
        for text in ["fast", "nas.example:/srv", "NAS.example:/srv/"] {
            assert_eq!(lane(text), Lane::Export(source.clone()), "{text}");
        }
        assert_ne!(lane("nas.example:/other"), lane("fast"));
    }

    #[test]
    fn calls_that_ask_no_server_share_one_lane() {
        let settings = Settings::default();
        for id in [None, Some(ExportRef::named("unknown").unwrap())] {
            assert_eq!(Lane::of_export(&settings, id.as_ref()), Lane::Local);
        }
    }
}
