//! What Compute Engine imports: `disk.raw` in a tar of GNU's old format, in gzip
//! (<https://cloud.google.com/compute/docs/import/import-existing-image>, `tar --format=oldgnu -Sczf`).
//!
//! The file is a sparse one, so zeros cost neither bytes nor time.

use std::io::{self, Write};

use bootwright_oci::Task;

use super::out::Out;
use super::survey::{Survey, UNIT};
use crate::compress::{Compression, Encoder};
use crate::tar::old_gnu_sparse_header;
use crate::{GENERATED_MTIME, RawImage};

/// The name that Compute Engine looks for.
const NAME: &str = "disk.raw";
/// Of a tar: twenty blocks.
const RECORD: u64 = 20 * 512;

pub(super) fn write(image: &RawImage, size: u64, out: &mut dyn Write, progress: &mut dyn Task) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let runs: Vec<(u64, u64)> =
        survey.runs().iter().map(|run| (run.start * UNIT, (run.end * UNIT).min(size) - run.start * UNIT)).collect();
    let header = old_gnu_sparse_header(NAME, GENERATED_MTIME, size, &runs);
    let stored: u64 = header.len() as u64 + runs.iter().map(|(_, len)| len).sum::<u64>();
    let gzip = Compression::Gzip;
    // Its level is a constant: it is also what users get who pack an image themselves.
    let mut gzip = Encoder::new(out, gzip, gzip.default_level(), stored, 1)?;
    let mut tar = Out::new(&mut gzip);
    tar.write_all(&header)?;
    for (at, len) in runs {
        tar.copy(image, at, len, progress)?;
    }
    tar.zeros(2 * 512)?;
    tar.pad(RECORD)?;
    gzip.finish()?;
    Ok(())
}
