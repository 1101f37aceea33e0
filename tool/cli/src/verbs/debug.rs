//! `bootwright ctl MACHINE debug`: files are brought to the machine, and a program runs in them.

use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bootwright_formats::cpio::TreeArchive;
use bootwright_machine::control::{Client, ClientError, DebugContainer, Program, Request, Typist};
use bootwright_machine::{RawTerminal, on_resize};
use bootwright_oci::{Image, Kind, Metadata, Node, Reporter, Tree, TreePath};
use bootwright_rootfs::host_file;

use super::build::Images;
use super::compose::Composer;
use super::ctl::{Tty, failure};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// What is brought without a word, where it is there: in this program's own repository.
const DEFAULT: &str = "pkg/busybox";
/// Bytes that are gathered for a frame.
const PIECE: usize = 8192;
/// A program's environment, where the image does not say otherwise.
const ENV: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root")];

/// Run a program in files from here, as root of the machine, and leave nothing behind
///
/// The machine's own root is /machine there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    tty: Tty,
    /// The image with the files: any reference that a spec may have, relative to this directory [default: @pkg:pkg/busybox, if
    /// that is there]
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// A directory with the files
    #[arg(long, value_name = "DIR", conflicts_with = "image")]
    tree: Option<PathBuf>,
    /// In the pid, network and IPC namespaces of a service, not of the machine
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    images: Images,
    /// [default: the image's own, if it is a shell, else /bin/sh]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    pub fn run(
        mut self,
        client: Client<UnixStream>,
        stream: UnixStream,
        machine: &str,
        (global, printer): (&Global, &Printer),
    ) -> Result<u8, Failure> {
        if !client.greeting.arch.is_empty() {
            self.images.arch.get_or_insert(client.greeting.arch.clone());
        }
        let composer = Composer::new(global, &self.images, printer)?;
        let (name, image, tree) = match &self.tree {
            Some(directory) => {
                let tree = read_tree(directory).map_err(|e| Failure::from(e).context("reading the files to bring"))?;
                (directory.display().to_string(), None, tree)
            }
            None => {
                let name = self.image.clone().or_else(default_image).ok_or_else(no_image)?;
                let (image, tree) = composer.image(&name)?;
                (name, Some(image), tree)
            }
        };
        let archive = TreeArchive::new(&tree).map_err(Failure::input)?;
        let terminal = self.tty.window();
        let (env, cwd) = surroundings(image.as_ref(), terminal.is_some());
        let argv = if self.command.is_empty() { vec![shell(image.as_ref())] } else { self.command };
        let (size, memory) = (archive.size(), archive.memory());
        let container = DebugContainer { archive: size, memory, argv, env, cwd };
        let request = Request::Debug { service: self.service, container, terminal };
        let program = Program::start(client, stream, &request).map_err(|e| failure(e, machine))?;
        let typist = program.typist();
        // Not locked: there are others who speak, too.
        let output = std::thread::spawn(move || program.output(&mut io::stdout(), &mut io::stderr()));
        let mut sending = printer.start(&format!("bringing {name}"), Some(size));
        let mut sink = BufWriter::with_capacity(PIECE, Sink(typist.clone()));
        match archive.write(composer.store(), &mut sink, &mut *sending) {
            // The machine says why, or the program has ended before it wanted all of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => drop(sink.into_parts()),
            written => written.map_err(|e| Failure::from(e).context(format!("bringing `{name}`")))?,
        }
        drop(sending);
        // Given back when this is dropped.
        let _raw = terminal.and_then(|_| RawTerminal::new());
        if terminal.is_some() {
            let typist = typist.clone();
            on_resize(move |window| drop(typist.resize(window)));
        }
        // Ends with this process: nothing wakes a read of standard input.
        std::thread::spawn(move || typist.copy(io::stdin()));
        let code = output.join().map_err(|_| Failure::input("reading what the machine says has failed"))?;
        code.map_err(|error| failure(error, machine))
    }
}

/// Where the archive goes.
struct Sink(Typist);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.type_bytes(bytes) {
            Ok(true) => Ok(bytes.len()),
            Ok(false) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(ClientError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn default_image() -> Option<String> {
    Path::new(DEFAULT).join("build.yml").is_file().then(|| format!("@pkg:{DEFAULT}"))
}

fn no_image() -> Failure {
    Failure::usage("which files to bring is not said").hint(
        "`--image REF` or `--tree DIR`, with the tools that are wanted: an image of busybox is a beginning".to_owned(),
    )
}

/// Environment and directory: the image's, and what else a program expects.
fn surroundings(image: Option<&Image>, terminal: bool) -> (Vec<String>, String) {
    let config = image.and_then(|image| image.config.config().as_ref());
    let mut env = config.and_then(|config| config.env().clone()).unwrap_or_default();
    let term = terminal.then_some(("TERM", "xterm"));
    for (name, value) in ENV.into_iter().chain(term) {
        if !env.iter().any(|variable| variable.split_once('=').is_some_and(|(known, _)| known == name)) {
            env.push(format!("{name}={value}"));
        }
    }
    (env, config.and_then(|config| config.working_dir().clone()).unwrap_or_default())
}

/// The image's own program, if it is a shell.
fn shell(image: Option<&Image>) -> String {
    let config = image.and_then(|image| image.config.config().as_ref());
    let first = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| list.first().cloned());
    let own = config.and_then(|config| first(config.entrypoint()).or_else(|| first(config.cmd())));
    own.filter(|own| own.ends_with("sh")).unwrap_or_else(|| "/bin/sh".to_owned())
}

/// A directory of this machine as a tree. What is neither file, link, directory nor device is left out.
fn read_tree(top: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        let named =
            |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        for entry in std::fs::read_dir(&directory).map_err(|error| named(&directory, error))? {
            let path = entry?.path();
            let (meta, kind) = read_node(&path).map_err(|error| named(&path, error))?;
            let Some(kind) = kind else { continue };
            if kind == Kind::Directory {
                left.push(path.clone());
            }
            let inside = path.strip_prefix(top).unwrap_or(&path).as_os_str().as_encoded_bytes();
            tree.nodes_mut().insert(TreePath::new(inside).map_err(io::Error::other)?, Node { meta, kind });
        }
    }
    Ok(tree)
}

fn read_node(path: &Path) -> io::Result<(Metadata, Option<Kind>)> {
    let metadata = std::fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        Some(Kind::Directory)
    } else if kind.is_symlink() {
        Some(Kind::Symlink(std::fs::read_link(path)?.into_os_string().into_encoded_bytes()))
    } else if kind.is_file() {
        Some(Kind::File(host_file(path)?))
    } else if kind.is_fifo() {
        Some(Kind::Fifo)
    } else {
        None
    };
    // Whoever has made them here, they are root's there.
    Ok((Metadata { mode: metadata.mode() & 0o7777, mtime: metadata.mtime(), ..Metadata::default() }, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_directory_is_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        std::fs::write(dir.path().join("usr/bin/x"), "#!").unwrap();
        std::fs::set_permissions(dir.path().join("usr/bin/x"), PermissionsExt::from_mode(0o4755)).unwrap();
        symlink("usr/bin", dir.path().join("bin")).unwrap();
        let tree = read_tree(dir.path()).unwrap();
        let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["bin", "usr", "usr/bin", "usr/bin/x"]);
        let file = tree.get(&TreePath::new("usr/bin/x").unwrap()).unwrap();
        assert_eq!((file.meta.mode, file.meta.uid), (0o4755, 0));
        assert!(
            matches!(&tree.get(&TreePath::new("bin").unwrap()).unwrap().kind, Kind::Symlink(to) if to == b"usr/bin")
        );
        let error = read_tree(&dir.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("/none`: "), "{error}");
    }
}
