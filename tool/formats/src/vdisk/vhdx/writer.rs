//! Laying out and writing.

use std::io::{self, Write};

use bootwright_oci::Task;

use super::format::{
    BLOCK, CHUNK, HEADERS, LOG, METADATA, REGION_TABLES, TABLE, ZERO, from_uuid, header, identifier, metadata, present,
    regions,
};
use crate::RawImage;
use crate::vdisk::MIB;
use crate::vdisk::out::Out;
use crate::vdisk::survey::Survey;

/// Writes a dynamic disk.
pub(in crate::vdisk) fn write(
    image: &RawImage,
    size: u64,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let blocks = size.div_ceil(BLOCK);
    let entries = blocks + (blocks - 1) / CHUNK;
    let table_len = (entries * 8).next_multiple_of(MIB);

    let guid = |role| from_uuid(survey.uuid(role));
    let header = |sequence| header(sequence, guid("vhdx file write"), guid("vhdx data write"));
    let regions = regions(table_len);
    let mut out = Out::new(out);
    for (at, bytes) in [
        (0, identifier()),
        (HEADERS[0], header(0)),
        (HEADERS[1], header(1)),
        (REGION_TABLES[0], regions.clone()),
        (REGION_TABLES[1], regions),
        (LOG, Vec::new()),
        (METADATA, metadata(size, guid("vhdx disk"))),
        (TABLE, Vec::new()),
    ] {
        out.zeros(at - out.at())?;
        out.write_all(&bytes)?;
    }

    let used = || survey.blocks(BLOCK).into_iter().flatten();
    let mut places = used().zip((TABLE + table_len..).step_by(BLOCK as usize)).peekable();
    for block in 0..blocks {
        if block > 0 && block % CHUNK == 0 {
            // A sector bitmap that is not there.
            out.write_all(&[0; 8])?;
        }
        let place = places.next_if(|(used, _)| *used == block);
        out.write_all(&place.map_or(ZERO, |(_, at)| present(at)).to_le_bytes())?;
    }
    out.pad(MIB)?;
    for block in used() {
        out.copy(image, block * BLOCK, BLOCK, progress)?;
    }
    Ok(())
}
