//! `quota status`: a table of volumes with their limits, usage and state, and the agent of each share.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use crate::config::quota::LocalShare;
use crate::linux::Dir;
use crate::terminal::columns;
use crate::volume::share::claims::look::LocalRecords;
use crate::volume::share::quota::{Agent, QuotaFolder, Report};
use crate::volume::share::records::Pages;

/// A volume in the table.
#[derive(Debug, Serialize)]
struct Row {
    share: String,
    volume: String,
    directory: String,
    size_bytes: u64,
    /// `None` if the agent has not said anything of it.
    report: Option<Report>,
}

/// Shows the volumes of the shares.
pub(super) fn run(shares: &[LocalShare], json: bool) -> anyhow::Result<()> {
    let (mut rows, mut agents) = (Vec::new(), Vec::new());
    for share in shares {
        let dir = Dir::open(&share.path)
            .with_context(|| format!("open {}", share.path.display()))?
            .with_label(&share.name);
        let sign = read(&dir, &mut rows).with_context(|| share.name.clone())?;
        agents.push(describe(&share.name, sign));
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}{}", render(&rows), agents.concat());
    }
    Ok(())
}

/// A line about the agent of a share, and its last sign of life in seconds since 1970.
fn describe(share: &str, sign: Option<(Agent, i64)>) -> String {
    let Some((agent, sign)) = sign else { return format!("{share}: no agent has worked here\n") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ago = now.saturating_sub(u64::try_from(sign).unwrap_or(0));
    let (version, mode) = (agent.version.escape_default(), format!("{:?}", agent.mode).to_lowercase());
    format!("{share}: agent {version}, mode {mode}, last sign of life {ago} s ago\n")
}

fn read(share: &Dir, rows: &mut Vec<Row>) -> anyhow::Result<Option<(Agent, i64)>> {
    let Some(records) = LocalRecords::open(share)? else { return Ok(None) };
    let folder = QuotaFolder::open(records.state())?;
    let mut pages = Pages::default();
    while let Some(keys) = pages.next_page(|after, limit| records.keys(after, limit))? {
        for key in &keys {
            let report = folder.as_ref().map(|folder| folder.read(key)).transpose()?.flatten();
            let (directory, size_bytes) = match records.read(key) {
                Ok(Some(read)) => (read.record.sub_dir.as_str().to_owned(), read.record.capacity_bytes),
                Ok(None) => continue,
                Err(error) => {
                    eprintln!("{error}");
                    (String::new(), 0)
                }
            };
            rows.push(Row { share: share.label(), volume: key.to_string(), directory, size_bytes, report });
        }
    }
    Ok(folder.map(|folder| folder.last_sign()).transpose()?.flatten())
}

fn render(rows: &[Row]) -> String {
    let mut lines =
        vec![["SHARE", "DIRECTORY", "SIZE", "LIMIT", "USED", "FILES", "STATE"].map(str::to_owned)];
    for row in rows {
        let bytes = |bytes: u64| if bytes == 0 { "-".to_owned() } else { bytes.to_string() };
        let (limit, used, files, state) = match &row.report {
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned(), "no agent".to_owned()),
            Some(report) => (
                bytes(report.limit_bytes),
                report.used_bytes.to_string(),
                report.used_inodes.to_string(),
                format!("{:?}", report.state).to_lowercase(),
            ),
        };
        // The name of a directory can have any printable character.
        let directory = row.directory.escape_default().to_string();
        lines.push([row.share.clone(), directory, bytes(row.size_bytes), limit, used, files, state]);
    }
    let mut text = String::new();
    for (number, line) in columns(&lines).lines().enumerate() {
        text.extend([line, "\n"]);
        if let Some(report) = number.checked_sub(1).and_then(|row| rows[row].report.as_ref())
            && !report.message.is_empty()
        {
            text.extend(["  ", &report.message.escape_default().to_string(), "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::share::quota::{Mode, State};

    #[test]
    fn the_agent_is_named_with_its_version_and_its_last_sign() {
        let agent = Agent { version: "1.2".to_owned(), mode: Mode::Enforce, sign_seconds: 5, counts: None };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let text = describe("nas", Some((agent, i64::try_from(now).unwrap() - 100)));
        assert!(text.starts_with("nas: agent 1.2, mode enforce, last sign of life 10"), "{text}");
        assert_eq!(describe("nas", None), "nas: no agent has worked here\n");
    }

    #[test]
    fn the_table_has_a_line_for_each_volume_and_what_is_wrong_with_it() {
        let row = |volume: &str, report| Row {
            share: "/srv".to_owned(),
            volume: volume.to_owned(),
            directory: format!("ns/{volume}"),
            size_bytes: 1 << 20,
            report,
        };
        let over = Report {
            project: 7,
            used_bytes: 2 << 20,
            used_inodes: 3,
            ..Report::without_quota(State::Over, "it uses too much")
        };
        let text = render(&[row("a", Some(over)), row("b", None)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["/srv", "ns/a", "1048576", "-", "2097152", "3", "over"]);
        assert_eq!(lines[2], ["it", "uses", "too", "much"]);
        assert_eq!(lines[3][6..], ["no", "agent"]);
    }
}
