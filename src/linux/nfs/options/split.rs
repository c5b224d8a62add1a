//! Splits a text into mount options.

use super::error::OptionError;

/// The options in a text, separated by commas. As in mount(8), a comma within double quotes does not separate options
/// (`context="system_u:object_r:nfs_t:s0:c1,c2"`). The quotes stay. White space around an option is removed, and empty
/// options are left out.
pub(super) fn split(text: &str) -> Result<Vec<&str>, OptionError> {
    if text.trim().chars().any(char::is_control) {
        return Err(OptionError::ControlCharacter);
    }
    let mut quoted = false;
    let options = text.split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    let options = options.map(str::trim).filter(|option| !option.is_empty()).collect();
    if text.matches('"').count() % 2 == 1 { Err(OptionError::Quote) } else { Ok(options) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_quotes_does_not_separate_options() {
        assert_eq!(split("hard, context=\"a:c1,c2\",,ro").unwrap(), ["hard", "context=\"a:c1,c2\"", "ro"]);
        assert_eq!(split("").unwrap(), [""; 0]);
        assert_eq!(split("context=\"a,ro"), Err(OptionError::Quote));
        assert_eq!(split("hard\nsoft"), Err(OptionError::ControlCharacter));
        assert_eq!(split("hard\n").unwrap(), ["hard"]);
    }
}
