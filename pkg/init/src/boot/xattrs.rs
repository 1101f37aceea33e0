//! The extended attributes that a cpio archive cannot carry: the manifest lists them.

use std::io;

use bootwright_bundle::Manifest;
use rustix::fs::XattrFlags;

/// Sets the extended attributes.
pub fn set(manifest: &Manifest) -> Vec<String> {
    let mut troubles = Vec::new();
    for xattr in &manifest.xattrs {
        let done = bytes(&xattr.value)
            .ok_or(io::Error::from(io::ErrorKind::InvalidData))
            .and_then(|value| Ok(rustix::fs::lsetxattr(&xattr.path, &xattr.name, &value, XattrFlags::empty())?));
        if let Err(error) = done {
            troubles.push(format!("setting {} of {}: {error}", xattr.name, xattr.path));
        }
    }
    troubles
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return None;
    }
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex() {
        assert_eq!(bytes("0100ff"), Some(vec![1, 0, 255]));
        for wrong in ["0", "0g", "é0"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
