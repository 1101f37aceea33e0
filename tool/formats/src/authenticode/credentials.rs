//! Key and certificate, out of PEM (RFC 7468) or DER files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rsa;

use super::SigningError;
use super::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, context};

/// rsaEncryption, 1.2.840.113549.1.1.1, as the content of an OBJECT IDENTIFIER.
pub(super) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A block of a PEM file, or all of a DER file.
#[derive(Debug)]
struct Block {
    /// What it says that it is; none of DER.
    label: Option<String>,
    der: Vec<u8>,
    /// A header of the old style says that it is encrypted.
    encrypted: bool,
}

/// The blocks of a file. Of a file that is no PEM, all of it.
fn blocks(bytes: &[u8]) -> Vec<Block> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) else {
        return vec![Block { label: None, der: bytes.to_vec(), encrypted: false }];
    };
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with(END)).collect();
        let encrypted = body.iter().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"));
        let base64: String = body.into_iter().filter(|line| !line.contains(':')).collect();
        // What is no base64 is no DER either, and is refused as that.
        let der = STANDARD.decode(base64).unwrap_or_default();
        blocks.push(Block { label: Some(label.to_owned()), der, encrypted });
    }
    blocks
}

/// What a file holds, in words.
fn found(blocks: &[Block]) -> String {
    let labels: Vec<_> = blocks.iter().filter_map(|block| block.label.as_deref()).map(|l| format!("`{l}`")).collect();
    if labels.is_empty() { "something else".to_owned() } else { labels.join(", ") }
}

/// Reads the first private key of a file.
pub(super) fn key(path: &Path, bytes: &[u8]) -> Result<rsa::KeyPair, SigningError> {
    let blocks = blocks(bytes);
    let is_key = |block: &&Block| block.label.as_ref().is_none_or(|label| label.ends_with("PRIVATE KEY"));
    let no_key = || SigningError::NoKey { path: path.to_owned(), found: found(&blocks) };
    let block = blocks.iter().find(is_key).ok_or_else(no_key)?;
    let form = Form::of(&block.der);
    if block.encrypted || block.label.as_deref() == Some("ENCRYPTED PRIVATE KEY") || form == Some(Form::Encrypted) {
        return Err(SigningError::Encrypted { path: path.to_owned() });
    }
    let pair = match form {
        Some(Form::Pkcs1) => rsa::KeyPair::from_der(&block.der),
        Some(Form::Pkcs8) => rsa::KeyPair::from_pkcs8(&block.der),
        Some(Form::Other | Form::Encrypted) => return Err(SigningError::NotRsa { path: path.to_owned() }),
        None => return Err(no_key()),
    };
    pair.map_err(|why| SigningError::BadKey { path: path.to_owned(), why: why.to_string() })
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `RSAPrivateKey` of RFC 8017.
    Pkcs1,
    /// `PrivateKeyInfo` of RFC 5208, of an RSA key.
    Pkcs8,
    /// `EncryptedPrivateKeyInfo` of RFC 5208.
    Encrypted,
    /// Another kind of key: `PrivateKeyInfo`, or `ECPrivateKey` of RFC 5915.
    Other,
}

impl Form {
    fn of(der: &[u8]) -> Option<Self> {
        let mut key = Reader(der).within(SEQUENCE)?;
        let first = key.value()?;
        let mut second = key.value()?;
        if first.tag == SEQUENCE {
            let encrypted = second.tag == OCTET_STRING && Reader(first.content).expect(OBJECT_IDENTIFIER).is_some();
            return encrypted.then_some(Self::Encrypted);
        }
        if first.tag != INTEGER {
            return None;
        }
        match second.tag {
            INTEGER => Some(Self::Pkcs1),
            SEQUENCE => {
                let algorithm = Reader(second.content).expect(OBJECT_IDENTIFIER)?;
                second = key.value()?;
                Some(if algorithm.content == RSA_ENCRYPTION && second.tag == OCTET_STRING {
                    Self::Pkcs8
                } else {
                    Self::Other
                })
            }
            OCTET_STRING => Some(Self::Other),
            _ => None,
        }
    }
}

/// What a signature needs of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// All of it.
    pub(super) der: Vec<u8>,
    /// Its issuer's name, with tag and length.
    pub(super) issuer: Vec<u8>,
    /// Its serial number, with tag and length.
    pub(super) serial: Vec<u8>,
    /// Its public key: `RSAPublicKey` of RFC 8017, where it is RSA's.
    pub(super) public_key: Vec<u8>,
}

impl Certificate {
    /// `Certificate` of RFC 5280, section 4.1.
    fn read(der: &[u8]) -> Option<Self> {
        let mut outer = Reader(der);
        let whole = outer.expect(SEQUENCE)?;
        let mut signed = Reader(whole.content).within(SEQUENCE)?;
        let mut serial = signed.value()?;
        if serial.tag == context(0) {
            serial = signed.value()?;
        }
        let _algorithm = signed.expect(SEQUENCE)?;
        let issuer = signed.expect(SEQUENCE)?;
        let _validity = signed.expect(SEQUENCE)?;
        let _subject = signed.expect(SEQUENCE)?;
        let mut key_info = signed.within(SEQUENCE)?;
        let _algorithm = key_info.expect(SEQUENCE)?;
        // The first byte of a bit string is the number of bits that its last byte lacks.
        let public_key = key_info.expect(BIT_STRING)?.content.strip_prefix(&[0])?;
        (serial.tag == INTEGER && outer.0.is_empty()).then(|| Self {
            der: whole.whole.to_vec(),
            issuer: issuer.whole.to_vec(),
            serial: serial.whole.to_vec(),
            public_key: public_key.to_vec(),
        })
    }
}

/// Reads all certificates of a file, at least one.
pub(super) fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<Certificate>, SigningError> {
    let blocks = blocks(bytes);
    let is_certificate = |block: &&Block| block.label.as_ref().is_none_or(|label| label.ends_with("CERTIFICATE"));
    let read = |(index, block): (usize, &Block)| {
        let bad = || match block.label {
            Some(_) => SigningError::BadCertificate { path: path.to_owned(), number: index + 1 },
            None => SigningError::NoCertificate { path: path.to_owned(), found: found(&blocks) },
        };
        Certificate::read(&block.der).ok_or_else(bad)
    };
    let certificates: Vec<_> = blocks.iter().filter(is_certificate).enumerate().map(read).collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        return Err(SigningError::NoCertificate { path: path.to_owned(), found: found(&blocks) });
    }
    Ok(certificates)
}
