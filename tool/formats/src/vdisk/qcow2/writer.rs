//! Laying out and writing.

use std::io::{self, Write};
use std::num::NonZero;

use bootwright_oci::Task;

use super::format::{CLUSTER, ENTRIES, Header, L2_SPAN, REFCOUNTS, compressed_entry, entry, last_sector};
use crate::RawImage;
use crate::vdisk::deflate::{self, Method};
use crate::vdisk::out::Out;
use crate::vdisk::survey::Survey;

/// A deflated cluster must save an eighth: it costs inflating at every boot.
const WORTH_IT: usize = (CLUSTER - CLUSTER / 8) as usize;

/// Writes clusters as they are.
pub(in crate::vdisk) fn write(
    image: &RawImage,
    size: u64,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let layout = Layout::new(size, &survey, vec![0; survey.count() as usize]);
    let mut out = Out::new(out);
    layout.write_tables(&survey, &mut out)?;
    layout.write_clusters(image, &survey, &mut out, progress)
}

/// Writes clusters deflated where that is worth it. The tables come first and hold the deflated sizes, so all is deflated
/// once for the sizes, and once more for the bytes: memory and disk stay bounded.
pub(in crate::vdisk) fn write_compressed(
    image: &RawImage,
    size: u64,
    workers: NonZero<usize>,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let survey = Survey::of(image)?;
    let mut packed = Vec::with_capacity(survey.count() as usize);
    deflate::each(image, survey.units(), Method::Raw, workers, progress, |_, bytes| {
        packed.push(if bytes.len() <= WORTH_IT { bytes.len() as u32 } else { 0 });
        Ok(())
    })?;
    let layout = Layout::new(size, &survey, packed);
    let mut out = Out::new(out);
    layout.write_tables(&survey, &mut out)?;
    layout.write_clusters(image, &survey, &mut out, progress)?;
    let deflated = survey.units().zip(&layout.packed).filter(|(_, len)| **len > 0).map(|(unit, _)| unit);
    deflate::each(image, deflated, Method::Raw, workers, progress, |_, bytes| out.write_all(bytes))?;
    out.pad(CLUSTER)
}

/// Where everything lies; offsets and counts in clusters.
#[derive(Debug)]
struct Layout {
    /// Bytes of the disk.
    size: u64,
    l1_entries: u64,
    /// The L1 entries that have an L2 table.
    l2: Vec<u64>,
    refcount_table: u64,
    refcount_blocks: u64,
    /// Where the clusters that are stored as they are begin.
    plain: u64,
    /// Where the deflated ones begin.
    deflated: u64,
    /// All clusters of the file.
    clusters: u64,
    /// Of each cluster that is not zero, in order: its deflated bytes, or zero if it is stored as it is.
    packed: Vec<u32>,
}

impl Layout {
    fn new(size: u64, survey: &Survey, packed: Vec<u32>) -> Self {
        let l1_entries = size.div_ceil(L2_SPAN);
        let l1 = l1_entries.div_ceil(ENTRIES);
        let l2: Vec<u64> = survey.blocks(L2_SPAN).into_iter().flatten().collect();
        let plain = packed.iter().filter(|len| **len == 0).count() as u64;
        let deflated = packed.iter().map(|len| u64::from(*len)).sum::<u64>().div_ceil(CLUSTER);
        let counted = 1 + l1 + l2.len() as u64 + plain + deflated;
        let (table, blocks) = refcount_clusters(counted);
        let first = 1 + table + blocks + l1 + l2.len() as u64;
        Self {
            size,
            l1_entries,
            l2,
            refcount_table: table,
            refcount_blocks: blocks,
            plain: first,
            deflated: first + plain,
            clusters: counted + table + blocks,
            packed,
        }
    }

    /// All that comes before the clusters of the disk.
    fn write_tables(&self, survey: &Survey, out: &mut Out<'_>) -> io::Result<()> {
        let l1 = 1 + self.refcount_table + self.refcount_blocks;
        let first_l2 = self.plain - self.l2.len() as u64;
        let header = Header {
            size: self.size,
            l1_entries: self.l1_entries as u32,
            l1_offset: l1 * CLUSTER,
            refcount_table_offset: CLUSTER,
            refcount_table_clusters: self.refcount_table as u32,
        };
        out.write_all(&header.bytes())?;
        out.pad(CLUSTER)?;

        for block in 0..self.refcount_blocks {
            out.write_all(&((1 + self.refcount_table + block) * CLUSTER).to_be_bytes())?;
        }
        out.pad(CLUSTER)?;
        self.write_refcounts(out)?;

        let mut tables = self.l2.iter().zip(first_l2..).peekable();
        for index in 0..self.l1_entries {
            let table = tables.next_if(|(l2, _)| **l2 == index);
            out.write_all(&table.map_or(0, |(_, at)| entry(at * CLUSTER)).to_be_bytes())?;
        }
        out.pad(CLUSTER)?;
        self.write_l2(survey, out)
    }

    /// One for every cluster, but for those with deflated ones in them: these count each.
    fn write_refcounts(&self, out: &mut Out<'_>) -> io::Result<()> {
        let mut offset = self.deflated * CLUSTER;
        let mut packed = self.packed.iter().filter(|len| **len > 0).map(|len| u64::from(*len)).peekable();
        // One that begins in the cluster before and reaches into this one.
        let mut reaching = 0u16;
        for cluster in 0..self.clusters {
            if cluster < self.deflated {
                out.write_all(&1u16.to_be_bytes())?;
                continue;
            }
            let mut count = std::mem::take(&mut reaching);
            while let Some(len) = packed.next_if(|_| offset / CLUSTER == cluster) {
                count += 1;
                if last_sector(offset, len) / CLUSTER > cluster {
                    reaching += 1;
                }
                offset += len;
            }
            out.write_all(&count.to_be_bytes())?;
        }
        out.pad(CLUSTER)
    }

    fn write_l2(&self, survey: &Survey, out: &mut Out<'_>) -> io::Result<()> {
        let (mut plain, mut deflated) = (self.plain * CLUSTER, self.deflated * CLUSTER);
        let mut units = survey.units().zip(&self.packed).peekable();
        for table in &self.l2 {
            let mut entries = vec![0; CLUSTER as usize];
            while let Some((unit, len)) = units.next_if(|(unit, _)| unit / ENTRIES == *table) {
                let entry = match u64::from(*len) {
                    0 => {
                        plain += CLUSTER;
                        entry(plain - CLUSTER)
                    }
                    len => {
                        deflated += len;
                        compressed_entry(deflated - len, len)
                    }
                };
                let at = (unit % ENTRIES * 8) as usize;
                entries[at..at + 8].copy_from_slice(&entry.to_be_bytes());
            }
            out.write_all(&entries)?;
        }
        Ok(())
    }

    /// The clusters that are stored as they are.
    fn write_clusters(
        &self,
        image: &RawImage,
        survey: &Survey,
        out: &mut Out<'_>,
        progress: &mut dyn Task,
    ) -> io::Result<()> {
        for (unit, len) in survey.units().zip(&self.packed) {
            if *len == 0 {
                out.copy(image, unit * CLUSTER, CLUSTER, progress)?;
            }
        }
        Ok(())
    }
}

/// Clusters of the refcount table and of refcount blocks for so many other clusters. They count themselves as well; more of
/// them never need fewer.
fn refcount_clusters(others: u64) -> (u64, u64) {
    let (mut table, mut blocks) = (0, 0);
    loop {
        let more = (others + table + blocks).div_ceil(REFCOUNTS);
        if more == blocks && more.div_ceil(ENTRIES) == table {
            return (table, blocks);
        }
        (table, blocks) = (more.div_ceil(ENTRIES), more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files from 2 GiB and from 16 TiB on, which are too large to be written by a test.
    #[test]
    fn refcounts_count_themselves() {
        let full = REFCOUNTS * ENTRIES;
        for (others, want) in [
            (1, (1, 1)),
            (REFCOUNTS - 2, (1, 1)),
            (REFCOUNTS - 1, (1, 2)),
            (2 * REFCOUNTS - 3, (1, 2)),
            (2 * REFCOUNTS - 2, (1, 3)),
            (full - ENTRIES - 1, (1, ENTRIES)),
            (full - ENTRIES, (2, ENTRIES + 1)),
        ] {
            assert_eq!(refcount_clusters(others), want, "{others}");
        }
    }
}
