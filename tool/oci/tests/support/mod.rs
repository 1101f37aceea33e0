//! What the tests against real registries need: images, a `docker-registry`, and a proxy that misbehaves on order.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bootwright_oci::archive::{ExportFormat, ExportOptions, export_file};
use bootwright_oci::manifest::{Descriptor, OCI_LAYER_GZIP};
use bootwright_oci::registry::RegistryOptions;
use bootwright_oci::{
    Digest, FetchOptions, Image, Kind, Layer, Platform, ReadContent, Reference, Silent, Store, Tree, TreePath,
};
use oci_spec::image::ImageConfiguration;

pub fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Pseudo-random bytes: nothing compresses them away.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image whose layers are the given files, gzip-compressed, in the store.
pub fn image(store: &Store, name: &str, platform: &Platform, layers: &[&[(&str, &[u8])]]) -> Image {
    let mut config = ImageConfiguration::default();
    let mut stored = Vec::new();
    for files in layers {
        let tar = tar_of(files);
        config.rootfs_mut().diff_ids_mut().push(Digest::of(&tar).to_string());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let (digest, size) = store.put_blob(&gzip.finish().unwrap()[..]).unwrap();
        stored.push(Layer { digest, size, media_type: OCI_LAYER_GZIP.to_owned() });
    }
    store.write_image(name, platform, config, stored).unwrap()
}

/// `name` for amd64 and arm64: a shared layer and one that says the architecture.
pub fn two_platforms(store: &Store, name: &str) -> Descriptor {
    let shared = noise(1, 300_000);
    let images: Vec<Image> = ["amd64", "arm64"]
        .iter()
        .map(|arch| {
            let own = format!("this is {arch}");
            image(store, name, &Platform::linux(arch), &[&[("shared", &shared)], &[("arch", own.as_bytes())]])
        })
        .collect();
    store.write_index(name, &images).unwrap()
}

pub fn content(store: &Store, tree: &Tree, path: &str) -> Vec<u8> {
    let Kind::File(content) = &tree.get(&TreePath::new(path).unwrap()).unwrap().kind else { panic!("{path}") };
    let mut bytes = Vec::new();
    ReadContent::open(store, content).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn flattened(store: &Store, image: &Image, path: &str) -> String {
    String::from_utf8(content(store, &store.flatten(image, &Silent).unwrap(), path)).unwrap()
}

/// Options that touch nothing of the user who runs the test and wait for nobody.
pub fn options(architecture: &str) -> FetchOptions {
    FetchOptions { registry: registry_options(), ..FetchOptions::new(Platform::linux(architecture), "/") }
}

pub fn registry_options() -> RegistryOptions {
    RegistryOptions {
        pause: Duration::from_millis(1),
        timeout: Duration::from_secs(20),
        docker_config: None,
        ..RegistryOptions::default()
    }
}

pub fn export(store: &Store, name: &str, format: ExportFormat, path: &Path) {
    let options = ExportOptions { format, platform: None, name: None };
    export_file(store, &reference(name), &options, path, &Silent).unwrap();
}

/// Runs a command and returns what it prints.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn skopeo(arguments: &[&str]) -> String {
    run("skopeo", &[&["--insecure-policy"], arguments].concat())
}

/// A `docker-registry` on loopback, gone when dropped.
pub struct Registry {
    child: Child,
    pub port: u16,
    _directory: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        Self::with("")
    }

    /// One that wants this user and password.
    pub fn with_password(user: &str, password: &str) -> Self {
        let line = run("htpasswd", &["-Bbn", user, password]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, line).unwrap();
        let registry = Self::with(&format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", path.display()));
        // It has read the file by now only if it has been asked, so the file stays.
        std::mem::forget(directory);
        registry
    }

    /// One that speaks TLS with a certificate of its own; also the file that holds it.
    pub fn with_tls() -> (Self, tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("ca.pem"));
        let arguments = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tests -addext subjectAltName=IP:127.0.0.1";
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        arguments.extend(["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()]);
        run("openssl", &arguments);
        let tls = format!("  tls: {{ certificate: {}, key: {} }}\n", certificate.display(), key.display());
        (Self::with(&tls), directory, certificate)
    }

    fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.yml");
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let text = format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {}/data }}\n  delete: {{ enabled: true }}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
                directory.path().display()
            );
            std::fs::write(&config, text).unwrap();
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry is installed (apt install docker-registry)");
            let deadline = Instant::now() + Duration::from_secs(60);
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, port, _directory: directory };
                }
                assert!(Instant::now() < deadline, "docker-registry does not answer on port {port}");
                std::thread::sleep(Duration::from_millis(10));
            }
            // Somebody else took the port meanwhile.
        }
        panic!("docker-registry does not start");
    }

    pub fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came to the proxy.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// How often this method and path had come before.
    pub before: usize,
}

impl Request {
    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:")
    }

    pub fn is_manifest(&self) -> bool {
        self.method == "GET" && self.path.contains("/manifests/")
    }
}

/// What the proxy does with it.
pub enum Action {
    /// What the registry says.
    Forward,
    /// Something of its own: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// What the registry says, but the connection ends after so many bytes of the body.
    Cut(usize),
    /// What the registry says, with another body of whatever length.
    Alter(fn(Vec<u8>) -> Vec<u8>),
    /// What a registry says that knows no ranges.
    Whole,
    /// The connection ends.
    Hangup,
}

/// A proxy in front of a registry.
pub struct Proxy {
    pub port: u16,
    pub log: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    pub fn start(upstream: u16, rule: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (rule, seen) = (Arc::new(rule), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rule, seen) = (Arc::clone(&rule), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, upstream, &*rule, &seen));
            }
        });
        Self { port, log }
    }

    pub fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    pub fn count(&self, which: impl Fn(&Request) -> bool) -> usize {
        self.log.lock().unwrap().iter().filter(|r| which(r)).count()
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Some(lines);
        }
        lines.push(line);
    }
}

fn headers(lines: &[String]) -> BTreeMap<String, String> {
    let split = lines.iter().filter_map(|line| line.split_once(':'));
    split.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

fn serve(mut stream: TcpStream, upstream: u16, rule: &dyn Fn(&Request) -> Action, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // A client that tries TLS first is told at once.
    if reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&0x16)) {
        return;
    }
    let Some(lines) = read_head(&mut reader) else { return };
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut request = Request { method, path, headers: headers(&lines[1..]), before: 0 };
    let mut body = Vec::new();
    if let Some(length) = request.headers.get("content-length").and_then(|l| l.parse().ok()) {
        body.resize(length, 0);
        reader.read_exact(&mut body).unwrap();
    }
    {
        let mut log = log.lock().unwrap();
        request.before = log.iter().filter(|r| r.method == request.method && r.path == request.path).count();
        log.push(request.clone());
    }
    let action = rule(&request);
    if let Action::Answer(status, headers, body) = action {
        let _ = write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            let _ = write!(stream, "{name}: {value}\r\n");
        }
        let _ = stream.write_all(b"\r\n").and_then(|()| stream.write_all(&body));
        return;
    }
    if matches!(action, Action::Hangup) {
        return;
    }
    let mut to = TcpStream::connect(("127.0.0.1", upstream)).unwrap();
    write!(to, "{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.path).unwrap();
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "connection") {
        if name == "range" && matches!(action, Action::Whole) {
            continue;
        }
        write!(to, "{name}: {value}\r\n").unwrap();
    }
    to.write_all(b"\r\n").and_then(|()| to.write_all(&body)).unwrap();
    let mut from = BufReader::new(to);
    let Some(head) = read_head(&mut from) else { return };
    let mut answer = Vec::new();
    if request.method != "HEAD" {
        from.read_to_end(&mut answer).unwrap();
    }
    let chunked = headers(&head[1..]).contains_key("transfer-encoding");
    assert!(!chunked, "the tests' registry sends lengths");
    let mut cut = usize::MAX;
    let mut altered = false;
    match action {
        Action::Cut(at) => cut = at,
        Action::Alter(alter) => {
            answer = alter(answer);
            altered = true;
        }
        _ => {}
    }
    let _ = write!(stream, "{}\r\n", head[0]);
    for line in &head[1..] {
        if altered && line.to_ascii_lowercase().starts_with("content-length:") {
            let _ = write!(stream, "Content-Length: {}\r\n", answer.len());
        } else {
            let _ = write!(stream, "{line}\r\n");
        }
    }
    let _ = stream.write_all(b"\r\n");
    let _ = stream.write_all(&answer[..answer.len().min(cut)]);
}

/// A store in a directory of its own.
pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    (directory, store)
}

/// Writes a `config.json` with a user and a password for a registry.
pub fn docker_config(directory: &Path, authority: &str, user: &str, password: &str) -> PathBuf {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let path = directory.join("config.json");
    std::fs::write(&path, format!(r#"{{"auths":{{"{authority}":{{"auth":"{auth}"}}}}}}"#)).unwrap();
    path
}
