//! Signatures of EFI programs, as Secure Boot checks them, and the same bytes every time.
//!
//! Microsoft's "Windows Authenticode Portable Executable Signature Format" (2008), which the UEFI specification takes over
//! (2.10, section 32.2): a PKCS #7 `SignedData` (RFC 2315) over the image's hash, in the certificate table at its end. RSA with
//! PKCS #1 v1.5 padding and SHA-256 has no randomness, and a signature need not say when it was made, so that a signed image is as
//! reproducible as the image. DER in the form that is needed here is 100 lines; crates for CMS bring a dozen others.

mod credentials;
mod der;
mod error;
mod hash;
mod pkcs7;
mod sign;

pub use error::SigningError;
pub use sign::Signer;
