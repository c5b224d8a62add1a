//! Writes the shell completions and the man pages of the command line into a directory.
//!
//! They are made of the command line that the binary has, and are not a part of the binary: `make manual`.

mod pages;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual DIRECTORY");
        std::process::exit(2);
    };
    let files = pages::files()?;
    for (path, content) in &files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&dir))?;
        std::fs::write(path, content)?;
    }
    println!("{} files in {}", files.len(), dir.display());
    Ok(())
}
