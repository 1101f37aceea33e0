//! Every format on every firmware and bus. One program, so that two stories are told at a time from the first to the last.

mod bios;
mod formats;
mod root_image;
mod uki;
mod verity;
