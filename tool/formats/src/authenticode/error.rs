//! Why nothing was signed, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::pe::PeError;

/// An image cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file that cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without a key.
    #[error("`{}` holds no private key; it holds {found}", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// A key behind a password.
    #[error("the key in `{}` is encrypted, and bootwright asks for no passwords", .path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// A key of another kind.
    #[error("the key in `{}` is no RSA key, and Secure Boot's firmware checks RSA signatures only", .path.display())]
    NotRsa {
        /// The file.
        path: PathBuf,
    },
    /// A key that cannot be used.
    #[error("the RSA key in `{}` cannot be used: {why}; it needs 2048 to 4096 bits", .path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// Why, in the words of the library.
        why: String,
    },
    /// A file without a certificate.
    #[error("`{}` holds no certificate; it holds {found}", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// A certificate that is none.
    #[error("certificate {number} in `{}` is no X.509 certificate", .path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which of the file's, from 1.
        number: usize,
    },
    /// Key and certificate are of different pairs.
    #[error("the key in `{}` does not belong to the first certificate in `{}`", .key.display(), .certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// What shall be signed is no EFI program that can be.
    #[error("the image cannot be signed")]
    Image(#[source] PeError),
    /// What shall be signed is signed.
    #[error("the image has a signature already")]
    Signed,
    /// With the signature it would be larger than its headers can say.
    #[error("the image has {0} bytes, and one that is signed has less than 4 GiB")]
    TooLarge(u64),
    /// The image's bytes cannot be read.
    #[error("cannot read the image")]
    ReadImage(#[source] io::Error),
    /// The key does not sign.
    #[error("the key in `{}` does not sign", .0.display())]
    Refused(PathBuf),
}

impl SigningError {
    /// What would help, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Encrypted { path } => Some(format!(
                "decrypt it where nobody else can read it: (umask 077; openssl pkey -in '{}' -out plain.key)",
                path.display()
            )),
            Self::NotRsa { .. } | Self::BadKey { .. } => Some(
                "make a pair: openssl req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=my machines/' -keyout sign.key \
                 -out sign.crt"
                    .to_owned(),
            ),
            Self::NoCertificate { path, .. } | Self::BadCertificate { path, .. } => {
                Some(format!("look at it: openssl x509 -in '{}' -noout -text", path.display()))
            }
            Self::NoKey { .. } => Some("it takes a key in PEM or DER form, PKCS #8 or PKCS #1".to_owned()),
            Self::Mismatch { key, certificate } => Some(format!(
                "these print the same for a pair: openssl pkey -in '{}' -pubout; openssl x509 -in '{}' -noout -pubkey",
                key.display(),
                certificate.display()
            )),
            _ => None,
        }
    }
}
