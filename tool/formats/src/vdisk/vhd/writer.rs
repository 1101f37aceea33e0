//! Laying out and writing.

use std::io::{self, Write};

use bootwright_oci::Task;

use super::format::{BITMAP, BLOCK, FOOTER, HEADER, Kind, UNUSED, footer, header};
use crate::RawImage;
use crate::vdisk::SECTOR;
use crate::vdisk::out::Out;
use crate::vdisk::survey::Survey;

/// What the identifiers are made for.
const ROLE: &str = "vhd";

/// Writes a fixed disk.
pub(in crate::vdisk) fn write_fixed(
    image: &RawImage,
    size: u64,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let mut out = Out::new(out);
    out.copy(image, 0, size, progress)?;
    out.write_all(&footer(Kind::Fixed, size, survey.uuid(ROLE)))
}

/// Writes a dynamic disk.
pub(in crate::vdisk) fn write_dynamic(
    image: &RawImage,
    size: u64,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let footer = footer(Kind::Dynamic, size, survey.uuid(ROLE));
    let blocks = size.div_ceil(BLOCK);
    let table = (blocks * 4).next_multiple_of(SECTOR);
    let first = FOOTER + HEADER + table;

    let mut out = Out::new(out);
    out.write_all(&footer)?;
    out.write_all(&header(blocks as u32))?;
    let used = || survey.blocks(BLOCK).into_iter().flatten();
    let mut places = used().zip((first..).step_by((BITMAP + BLOCK) as usize)).peekable();
    for block in 0..table / 4 {
        let place = places.next_if(|(used, _)| *used == block);
        let sector = place.map_or(UNUSED, |(_, at)| (at / SECTOR) as u32);
        out.write_all(&sector.to_be_bytes())?;
    }
    for block in used() {
        // All sectors of a block that is there are there.
        out.write_all(&[0xff; BITMAP as usize])?;
        out.copy(image, block * BLOCK, BLOCK, progress)?;
    }
    out.write_all(&footer)
}
