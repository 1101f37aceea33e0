//! The signature itself: a PKCS #7 `SignedData` (RFC 2315) over `SpcIndirectDataContent`.

use bootwright_oci::Digest;

use super::credentials::{Certificate, RSA_ENCRYPTION};
use super::der::{BIT_STRING, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, context, set_of, value};

/// signedData, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// contentType, 1.2.840.113549.1.9.3.
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
/// messageDigest, 1.2.840.113549.1.9.4.
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
/// sha256, 2.16.840.1.101.3.4.2.1.
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
/// SPC_INDIRECT_DATA_OBJID, 1.3.6.1.4.1.311.2.1.4.
const SPC_INDIRECT_DATA: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 4];
/// SPC_PE_IMAGE_DATAOBJ, 1.3.6.1.4.1.311.2.1.15.
const SPC_PE_IMAGE_DATA: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 15];
/// What the format wants as the file's name.
const OBSOLETE: &str = "<<<Obsolete>>>";

/// What is signed, still without the signature.
#[derive(Debug)]
pub(super) struct ToSign {
    /// Members of `SpcIndirectDataContent`.
    content: Vec<u8>,
    /// The attributes.
    attributes: Vec<Vec<u8>>,
}

impl ToSign {
    /// About an image of that hash.
    pub(super) fn new(image: &Digest) -> Self {
        let name: Vec<u8> = OBSOLETE.encode_utf16().flat_map(u16::to_be_bytes).collect();
        // SpcLink is a choice of a choice: file [2], unicode [0] IMPLICIT BMPString.
        let file = value(context(0), &[&value(context(2), &[&value(0x80, &[&name])])]);
        let no_flags = value(BIT_STRING, &[&[0]]);
        let pe_data = value(SEQUENCE, &[&no_flags, &file]);
        let data = value(SEQUENCE, &[&oid(SPC_PE_IMAGE_DATA), &pe_data]);
        let hash = value(SEQUENCE, &[&algorithm(SHA256), &value(OCTET_STRING, &[image.bytes()])]);
        let content = [data, hash].concat();
        // PKCS #7 hashes the content without its tag and length.
        let digest = value(OCTET_STRING, &[Digest::of(&content).bytes()]);
        let attribute = |kind, of: &[u8]| value(SEQUENCE, &[&oid(kind), &value(SET, &[of])]);
        let attributes = vec![attribute(CONTENT_TYPE, &oid(SPC_INDIRECT_DATA)), attribute(MESSAGE_DIGEST, &digest)];
        Self { content, attributes }
    }

    /// The bytes that the key signs: the attributes as a `SET OF`.
    pub(super) fn bytes(&self) -> Vec<u8> {
        set_of(SET, self.attributes.clone())
    }

    /// The whole, as a `ContentInfo`. The first certificate is the signer's, the others are on the way to a known one.
    pub(super) fn signed(self, certificates: &[Certificate], signature: &[u8]) -> Vec<u8> {
        let version = value(INTEGER, &[&[1]]);
        let signer = &certificates[0];
        let signer_info = value(
            SEQUENCE,
            &[
                &version,
                &value(SEQUENCE, &[&signer.issuer, &signer.serial]),
                &algorithm(SHA256),
                &set_of(context(0), self.attributes),
                &algorithm(RSA_ENCRYPTION),
                &value(OCTET_STRING, &[signature]),
            ],
        );
        let content =
            value(SEQUENCE, &[&oid(SPC_INDIRECT_DATA), &value(context(0), &[&value(SEQUENCE, &[&self.content])])]);
        let certificates: Vec<&[u8]> = certificates.iter().map(|c| c.der.as_slice()).collect();
        let signed_data = value(
            SEQUENCE,
            &[
                &version,
                &value(SET, &[&algorithm(SHA256)]),
                &content,
                &value(context(0), &certificates),
                &value(SET, &[&signer_info]),
            ],
        );
        value(SEQUENCE, &[&oid(SIGNED_DATA), &value(context(0), &[&signed_data])])
    }
}

fn oid(content: &[u8]) -> Vec<u8> {
    value(OBJECT_IDENTIFIER, &[content])
}

/// An `AlgorithmIdentifier` whose parameters are NULL, as RFC 4055 wants it of these.
fn algorithm(content: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&oid(content), &value(NULL, &[])])
}
