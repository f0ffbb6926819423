//! Whole nights in virtual time, and the in-process API that they stand on. One program for all of them: two threads share whatever is left to play.

mod api;
mod changes;
mod cloud;
mod conformance;
mod control;
mod every_write;
mod faults;
mod ordinary;
mod shortage;
