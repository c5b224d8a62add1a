//! Why a mount option is refused.

/// A mount option that cannot be used. The message names it, without its value, which can be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// An option that would choose another server.
    #[error("mount option `{0}` is not allowed: the driver sets the server's address itself")]
    Address(String),
    /// A version of NFS that Linux or this driver does not have.
    #[error("mount option `{0}`: the NFS version must be 3, 4, 4.0, 4.1 or 4.2")]
    Version(String),
    /// A value that the option cannot have.
    #[error("mount option `{option}`: {expected}")]
    Value {
        /// The option without its value.
        option: String,
        /// What is expected.
        expected: String,
    },
    /// There is no such option.
    #[error("mount option `{name}` does not exist for NFS{}", nearest.as_ref().map_or(String::new(), |n| format!(": did you mean `{n}`?")))]
    Unknown {
        /// The option without its value.
        name: String,
        /// The option that is most like it.
        nearest: Option<String>,
    },
    /// An option that makes mount(8) do something else than mount an export.
    #[error("mount option `{0}` is not allowed: it does not describe a mount of an NFS export")]
    Operation(String),
    /// Two options that cannot be used together.
    #[error("mount options `{0}` and `{1}` cannot be used together: {2}")]
    Together(String, String, &'static str),
    /// A quote that is not closed.
    #[error("a mount option contains a double quote that is not closed")]
    Quote,
    /// A character that could end the option and begin another one, or that could deceive the reader of a log.
    #[error("a mount option contains a control character")]
    ControlCharacter,
}
