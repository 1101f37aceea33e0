//! Formats that are the whole tree in one stream: `tar`, `docker`, `docker-archive`, `oci`.

use bootwright_oci::Reference;
use bootwright_rootfs::Machine;

use super::parts::Parts;
use crate::Error;
use crate::container::{docker_archive, entrypoint, oci_archive};
use crate::format::{Named, Stream};
use crate::kernel::Kernel;
use crate::output::Stage;
use crate::report::weigh;
use crate::tar::{self, Extra};

impl Parts<'_> {
    pub(super) fn stream(&mut self, named: &Named, stream: Stream, stage: &mut Stage<'_>) -> Result<(), Error> {
        let machine = self.machine;
        let entry = entrypoint(machine);
        if stream != Stream::Tar && entry.is_none() {
            let warning = "the machine has neither `/bin/rc.init` nor `/init`: a container of it will not start";
            self.warnings.push(warning.to_owned());
        }
        let extras = if stream == Stream::DockerContext { docker_files(machine) } else { &[] };
        let unpacked = weigh(machine).iter().map(|c| c.unpacked).sum::<u64>();
        let size = unpacked + self.kernel.as_deref().map_or(0, Kernel::size);
        let kernel = self.kernel.as_deref();
        match stream {
            Stream::Tar | Stream::DockerContext => self.artefact(stage, named, 0, size, |out, progress| {
                tar::write(machine, kernel, extras, self.read, out, progress)
            }),
            Stream::DockerArchive => {
                let name = self.image_name(named)?;
                self.artefact(stage, named, 0, unpacked, |out, progress| {
                    docker_archive(machine, &name, self.read, out, progress)
                })
            }
            Stream::Oci => {
                let name = self.image_name(named)?;
                self.artefact(stage, named, 0, unpacked, |out, progress| {
                    oci_archive(machine, &name, self.read, self.derived.scratch()?, out, progress)
                })
            }
        }
    }

    /// The name of the machine as a container image. A machine on standard output has none of its own.
    fn image_name(&self, named: &Named) -> Result<Reference, Error> {
        let name = if named.name.is_empty() { "machine" } else { &named.name };
        let (format, name) = (named.format, name.to_lowercase());
        name.parse().map_err(|source| Error::ImageName { format, name, source })
    }
}

/// A Dockerfile, and what keeps it out of the image that it builds.
pub(super) fn docker_files(machine: &Machine) -> &'static [Extra] {
    const IGNORE: Extra = Extra { name: ".dockerignore", content: "Dockerfile\n.dockerignore\n" };
    const RC_INIT: &[Extra] =
        &[Extra { name: "Dockerfile", content: "FROM scratch\nCOPY . /\nENTRYPOINT [\"/bin/rc.init\"]\n" }, IGNORE];
    const INIT: &[Extra] =
        &[Extra { name: "Dockerfile", content: "FROM scratch\nCOPY . /\nENTRYPOINT [\"/init\"]\n" }, IGNORE];
    if entrypoint(machine) == Some("/bin/rc.init") { RC_INIT } else { INIT }
}
