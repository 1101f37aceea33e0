//! Writing; the only thing known beforehand is the content's identifier.

use std::io::{self, Write};
use std::num::NonZero;

use bootwright_oci::Task;

use super::format::{AT_END, GRAIN, GRAINS, Marker, OVERHEAD, descriptor, grain_marker, header, marker};
use crate::RawImage;
use crate::vdisk::SECTOR;
use crate::vdisk::deflate::{self, Method};
use crate::vdisk::out::Out;
use crate::vdisk::survey::Survey;

/// Writes the disk.
pub(in crate::vdisk) fn write(
    image: &RawImage,
    size: u64,
    workers: NonZero<usize>,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let mut writer =
        Writer { out: Out::new(out), table: None, directory: vec![0; size.div_ceil(GRAIN * GRAINS) as usize] };
    writer.out.write_all(&header(size, AT_END))?;
    writer.out.write_all(descriptor(size, survey.word("vmdk")).as_bytes())?;
    writer.out.pad(OVERHEAD * SECTOR)?;
    deflate::each(image, survey.units(), Method::Zlib, workers, progress, |grain, bytes| writer.grain(grain, bytes))?;
    writer.finish(size)
}

struct Writer<'a> {
    out: Out<'a>,
    /// The table whose grains are being written: its number and their sectors.
    table: Option<(u64, Vec<u32>)>,
    /// The tables' sectors.
    directory: Vec<u32>,
}

impl Writer<'_> {
    fn grain(&mut self, grain: u64, bytes: &[u8]) -> io::Result<()> {
        let number = grain / GRAINS;
        if self.table.as_ref().is_none_or(|(current, _)| *current != number) {
            self.end_table()?;
        }
        let sector = self.sector()?;
        let (_, table) = self.table.get_or_insert_with(|| (number, vec![0; GRAINS as usize]));
        table[(grain % GRAINS) as usize] = sector;
        self.out.write_all(&grain_marker(grain, bytes.len()))?;
        self.out.write_all(bytes)?;
        self.out.pad(SECTOR)
    }

    fn end_table(&mut self) -> io::Result<()> {
        if let Some((number, table)) = self.table.take() {
            self.directory[number as usize] = self.announced(Marker::Table, &le_bytes(&table))?;
        }
        Ok(())
    }

    fn finish(mut self, size: u64) -> io::Result<()> {
        self.end_table()?;
        let directory = le_bytes(&self.directory);
        let directory = self.announced(Marker::Directory, &directory)?;
        self.announced(Marker::Footer, &header(size, directory.into()))?;
        self.out.write_all(&marker(Marker::End, 0))
    }

    /// Writes something behind its marker; gives the sector of the thing itself.
    fn announced(&mut self, kind: Marker, bytes: &[u8]) -> io::Result<u32> {
        self.out.write_all(&marker(kind, (bytes.len() as u64).div_ceil(SECTOR)))?;
        let sector = self.sector()?;
        self.out.write_all(bytes)?;
        self.out.pad(SECTOR)?;
        Ok(sector)
    }

    fn sector(&self) -> io::Result<u32> {
        let too_long = |_| io::Error::other("the file exceeds 2 TiB, which VMDK cannot address");
        u32::try_from(self.out.at() / SECTOR).map_err(too_long)
    }
}

fn le_bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
