//! Fills a planned volume.

use std::sync::Arc;

use bootwright_oci::Digest;

use super::format::{
    Attribute, BACKUP, END_OF_FILE, FIRST_CLUSTER, Geometry, TABLE_HEAD, boot_sector, long_entries, short_entry,
    summary,
};
use super::plan::{Child, Directory, FatPlan, Run};
use crate::RawImage;
use crate::disk::{Blob, SECTOR, identity, short_id};

/// Names of a directory itself, and of the one that it is in.
const DOTS: [&[u8; 11]; 2] = [b".          ", b"..         "];

impl FatPlan {
    /// The filesystem with what each file holds.
    ///
    /// # Panics
    ///
    /// The contents are not those whose sizes were planned.
    #[must_use]
    pub fn image(&self, contents: &[Blob]) -> Blob {
        assert_eq!(contents.len(), self.files.len(), "one content for each file");
        let mut image = RawImage::new(self.size());
        for (file, content) in self.files.iter().zip(contents) {
            assert_eq!(content.image.size(), u64::from(file.len), "`{}` holds what was planned", file.path);
            if file.len > 0 {
                image.put_image(self.geometry.sector_of(file.run.first) * SECTOR, &content.image);
            }
        }
        for directory in &self.directories {
            image.put(self.geometry.sector_of(directory.run.first) * SECTOR, self.directory(directory));
        }
        let table: Arc<[u8]> = self.table().into();
        for at in [self.geometry.reserved, self.geometry.reserved + self.geometry.table] {
            image.put(at * SECTOR, Arc::clone(&table));
        }
        let digest = self.identity(contents);
        let root = self.directories[0].run.first;
        let boot = boot_sector(&self.geometry, root, short_id(&digest), &self.label);
        let summary = summary(free_clusters(&self.geometry, self.free), self.free);
        for at in [0, BACKUP] {
            image.put(at * SECTOR, boot);
            image.put((at + 1) * SECTOR, summary);
        }
        Blob { image, digest }
    }

    /// What decides all bytes: sizes, names and contents, whatever their order.
    fn identity(&self, contents: &[Blob]) -> Digest {
        let mut files: Vec<_> = self.files.iter().zip(contents).collect();
        files.sort_by_key(|(file, _)| &file.path);
        let size = self.size().to_le_bytes();
        let files = files.iter().flat_map(|(file, content)| [file.path.as_bytes(), content.digest.bytes()]);
        identity("fat", [&self.label[..], &size].into_iter().chain(files))
    }

    /// The table as far as it is not zero: each cluster says which comes next, so a run counts up.
    fn table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.free as usize * 4);
        TABLE_HEAD.iter().for_each(|entry| table.extend_from_slice(&entry.to_le_bytes()));
        let mut runs: Vec<Run> =
            self.directories.iter().map(|d| d.run).chain(self.files.iter().map(|f| f.run)).collect();
        runs.sort_by_key(|run| run.first);
        for run in runs.iter().filter(|run| run.clusters > 0) {
            let last = run.first + run.clusters - 1;
            (run.first..last).for_each(|cluster| table.extend_from_slice(&(cluster + 1).to_le_bytes()));
            table.extend_from_slice(&END_OF_FILE.to_le_bytes());
        }
        table
    }

    fn directory(&self, directory: &Directory) -> Vec<u8> {
        let root = self.directories[0].run.first;
        let mut bytes = Vec::new();
        if directory.run.first == root {
            bytes.extend_from_slice(&short_entry(&self.label, Attribute::Label, 0, 0));
        } else {
            let above = self.directories[directory.parent].run.first;
            // The root is called cluster zero here, wherever it is.
            let above = if above == root { 0 } else { above };
            for (name, cluster) in DOTS.into_iter().zip([directory.run.first, above]) {
                bytes.extend_from_slice(&short_entry(name, Attribute::Directory, cluster, 0));
            }
        }
        for (name, child) in &directory.entries {
            if !name.long.is_empty() {
                long_entries(&name.long, &name.short).iter().for_each(|entry| bytes.extend_from_slice(entry));
            }
            let entry = match *child {
                Child::Directory(index) => {
                    short_entry(&name.short, Attribute::Directory, self.directories[index].run.first, 0)
                }
                Child::File(index) => {
                    let file = &self.files[index];
                    short_entry(&name.short, Attribute::File, file.run.first, file.len)
                }
            };
            bytes.extend_from_slice(&entry);
        }
        bytes
    }
}

fn free_clusters(geometry: &Geometry, first: u32) -> u32 {
    // A volume has at most 2^32 sectors.
    geometry.clusters as u32 - (first - FIRST_CLUSTER)
}
