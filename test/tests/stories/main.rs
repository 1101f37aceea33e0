//! What machines do, and how they are booted. One program, so that two stories are told at a time from the first to the last.

mod console;
mod containers;
mod control;
mod endurance;
mod examples;
mod foreign_init;
mod isolation;
mod labels;
mod logs;
mod memory;
mod onfail;
mod run;
mod segments;
mod shutdown;
mod supervision;
mod torture;
mod trial;
