//! Lines into files: one for each source, begun anew when it has reached its size.
//!
//! A line is `TIME STREAM TEXT`. A disk that is full loses lines, and says so in the file when it has room again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bootwright_bundle::control::timestamp;

use crate::journal::Record;

/// The files.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    size: u64,
    count: u64,
    open: BTreeMap<String, Log>,
}

/// One source's.
#[derive(Debug, Default)]
struct Log {
    file: Option<File>,
    bytes: u64,
    lost: u64,
}

impl Files {
    /// In a directory, of so many bytes and so many of each source.
    pub fn new(directory: PathBuf, size: u64, count: u64) -> Self {
        Self { directory, size, count: count.max(1), open: BTreeMap::new() }
    }

    /// Writes a line.
    pub fn write(&mut self, record: &Record<'_>) {
        let line = record.line();
        let log = self.open.entry(line.source.clone()).or_default();
        let time = timestamp(line.time);
        let mut text = String::new();
        let missing = log.lost + line.lost.unwrap_or(0);
        if missing > 0 {
            text = format!("{time} - ({missing} lines are missing)\n");
        }
        if line.lost.is_none() {
            text.push_str(&format!("{time} {} {}\n", line.stream, line.text));
        }
        let path = self.directory.join(format!("{}.log", line.source));
        match log.append(&path, text.as_bytes(), self.size, self.count) {
            Ok(()) => log.lost = 0,
            Err(_) => {
                log.lost += line.lost.unwrap_or(1);
                // Opened anew, if it was the file.
                log.file = None;
            }
        }
    }
}

impl Log {
    fn append(&mut self, path: &Path, text: &[u8], size: u64, count: u64) -> io::Result<()> {
        if self.file.is_none() {
            let file = File::options().append(true).create(true).open(path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        if self.bytes > 0 && self.bytes + text.len() as u64 > size {
            self.file = None;
            rotate(path, count)?;
            self.file = Some(File::options().append(true).create(true).open(path)?);
            self.bytes = 0;
        }
        if let Some(file) = &mut self.file {
            file.write_all(text)?;
        }
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// `x.log` becomes `x.log.1`, that `x.log.2`, and the last one goes.
fn rotate(path: &Path, count: u64) -> io::Result<()> {
    let numbered = |number: u64| match number {
        0 => path.to_owned(),
        _ => path.with_extension(format!("log.{number}")),
    };
    for number in (0..count).rev() {
        let done = if number + 1 == count {
            fs::remove_file(numbered(number))
        } else {
            fs::rename(numbered(number), numbered(number + 1))
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Mark;

    fn record<'a>(text: &'a str, lost: u64) -> Record<'a> {
        let mark = Mark { stream: 1, sequence: 0, time: 1_000_000, uptime: 0 };
        Record { mark, source: "web", text: [text.as_bytes(), b""], lost }
    }

    #[test]
    fn files_are_begun_anew_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(dir.path().into(), 200, 3);
        for i in 0..100 {
            files.write(&record(&format!("line {i}"), 0));
        }
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["web.log", "web.log.1", "web.log.2"]);
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let all = [read("web.log.2"), read("web.log.1"), read("web.log")].concat();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.last(), Some(&"1970-01-01T00:00:01.000Z stdout line 99"));
        let numbers: Vec<u32> = lines.iter().map(|l| l.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none is missing between files: {numbers:?}");
        assert!(fs::metadata(dir.path().join("web.log.1")).unwrap().len() <= 200);
        // Another boot goes on in the same file.
        let before = read("web.log").len();
        Files::new(dir.path().into(), 1000, 3).write(&record("again", 0));
        assert!(read("web.log").len() > before);
    }

    #[test]
    fn what_is_missing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("later");
        let mut files = Files::new(gone.clone(), 1000, 2);
        files.write(&record("lost", 0));
        files.write(&record("", 5));
        fs::create_dir(&gone).unwrap();
        files.write(&record("found", 0));
        let text = fs::read_to_string(gone.join("web.log")).unwrap();
        assert_eq!(text, "1970-01-01T00:00:01.000Z - (6 lines are missing)\n1970-01-01T00:00:01.000Z stdout found\n");
    }
}
