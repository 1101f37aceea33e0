//! Signing: two sums over the image, the signature behind it, and its place in the headers.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use bootwright_oci::Task;
use ring::rand::SystemRandom;
use ring::{rsa, signature};

use super::SigningError;
use super::credentials::{self, Certificate};
use super::hash::sums;
use super::pkcs7::ToSign;
use crate::RawImage;
use crate::pe::{self, Pe};

/// Certificate table and its entries are at multiples of so many bytes.
const ALIGNMENT: u64 = 8;
/// `WIN_CERT_REVISION_2_0`.
const REVISION: u16 = 0x0200;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS_SIGNED_DATA: u16 = 2;

/// A key and its certificate.
pub struct Signer {
    key: rsa::KeyPair,
    key_path: PathBuf,
    /// The key's, and what others its file has.
    certificates: Vec<Certificate>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key_path", &self.key_path).finish_non_exhaustive()
    }
}

impl Signer {
    /// Takes the bytes of two files: an RSA key (PKCS #8 or PKCS #1) and the certificate of its public half (X.509), each in PEM or
    /// DER form. Further certificates of the file become part of each signature.
    ///
    /// # Errors
    ///
    /// A file holds something else, or the two do not belong together; the errors name the paths.
    pub fn new(key: (&Path, &[u8]), certificate: (&Path, &[u8])) -> Result<Self, SigningError> {
        let ((key_path, key), (certificate_path, certificate)) = (key, certificate);
        let key = credentials::key(key_path, key)?;
        let certificates = credentials::certificates(certificate_path, certificate)?;
        if certificates[0].public_key != key.public().as_ref() {
            let (key, certificate) = (key_path.to_owned(), certificate_path.to_owned());
            return Err(SigningError::Mismatch { key, certificate });
        }
        Ok(Self { key, key_path: key_path.to_owned(), certificates })
    }

    /// Reads both files: [`Signer::new`].
    ///
    /// # Errors
    ///
    /// Those of [`Signer::new`], and of reading.
    pub fn read(key: &Path, certificate: &Path) -> Result<Self, SigningError> {
        let read = |path: &Path| fs::read(path).map_err(|source| SigningError::Read { path: path.to_owned(), source });
        Self::new((key, &read(key)?), (certificate, &read(certificate)?))
    }

    /// The image with a signature: the same pieces, changed headers, and the certificate table at the end.
    ///
    /// # Errors
    ///
    /// The image is no EFI program, is signed already, or cannot be read.
    pub fn sign(&self, image: &RawImage, progress: &mut dyn Task) -> Result<RawImage, SigningError> {
        let mut head = vec![0; image.size().min(pe::HEAD) as usize];
        image.read_at(0, &mut head).map_err(SigningError::ReadImage)?;
        let pe = Pe::read(&head, image.size()).map_err(SigningError::Image)?;
        pe.sections_end().map_err(SigningError::Image)?;
        if pe.certificates != (0, 0) {
            return Err(SigningError::Signed);
        }

        let table_at = image.size().next_multiple_of(ALIGNMENT);
        let mut padded = RawImage::new(table_at);
        padded.put_image(0, image);
        let (hash, mut checksum) = sums(&padded, &pe, progress).map_err(SigningError::ReadImage)?;

        let to_sign = ToSign::new(&hash);
        let mut signed = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), &to_sign.bytes(), &mut signed)
            .map_err(|_| SigningError::Refused(self.key_path.clone()))?;
        let table = certificate_table(&to_sign.signed(&self.certificates, &signed));

        let end = table_at + table.len() as u64;
        let too_large = |_| SigningError::TooLarge(image.size());
        let directory = [u32::try_from(table_at), u32::try_from(table.len())].map(|n| n.map(u32::to_le_bytes));
        let [offset, len] = directory;
        let directory = [offset.map_err(too_large)?, len.map_err(too_large)?].concat();
        u32::try_from(end).map_err(too_large)?;
        checksum.add(&directory);
        checksum.add(&table);

        head.truncate(pe.headers_len as usize);
        head[pe.certificates_at()..pe.certificates_at() + 8].copy_from_slice(&directory);
        head[pe.checksum_at()..pe.checksum_at() + 4].copy_from_slice(&checksum.finish(end).to_le_bytes());
        let mut out = RawImage::new(end);
        let rest = head.len() as u64;
        out.put(0, head);
        out.put_image(rest, &padded.part(rest, table_at - rest));
        out.put(table_at, table);
        Ok(out)
    }
}

/// The table with one entry, a `WIN_CERTIFICATE`.
fn certificate_table(signed_data: &[u8]) -> Vec<u8> {
    let len = (8 + signed_data.len() as u64).next_multiple_of(ALIGNMENT);
    let mut table = Vec::with_capacity(len as usize);
    // The length with the padding is what signing tools write, and what firmware adds up.
    table.extend_from_slice(&(len as u32).to_le_bytes());
    table.extend_from_slice(&REVISION.to_le_bytes());
    table.extend_from_slice(&PKCS_SIGNED_DATA.to_le_bytes());
    table.extend_from_slice(signed_data);
    table.resize(len as usize, 0);
    table
}
