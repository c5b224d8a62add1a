//! Tables for a person at a terminal.

/// Replaces control characters, which a terminal would obey. Tenants choose the names of files and directories.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Rows in columns, each as wide as its widest cell. Control characters are replaced.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| printable(&row[column]))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes for a person: `1.5 GiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// How long ago something was, in its largest unit: `3d`.
#[must_use]
pub fn age(seconds: u64) -> String {
    let (size, unit) = [(86_400, "d"), (3600, "h"), (60, "m")]
        .into_iter()
        .find(|(size, _)| seconds >= *size)
        .unwrap_or((1, "s"));
    format!("{}{unit}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells_and_a_terminal_obeys_none() {
        let rows = [["NAME".to_owned(), "SIZE".to_owned()], ["a\u{1b}[2Jlong".to_owned(), bytes(3 << 29)]];
        assert_eq!(columns(&rows), "NAME       SIZE\na\u{fffd}[2Jlong  1.50 GiB\n");
        assert_eq!([age(5), age(3599), age(7200), age(864_000)], ["5s", "59m", "2h", "10d"]);
    }
}
