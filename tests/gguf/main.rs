//! GGUF files, in and out: blocks, models, tokenisers, and files that lie. The fixtures are made by
//! `tools/make_gguf_fixtures.py` with llama.cpp's converter, its tokeniser and the gguf package.
#![cfg(feature = "train")]

#[path = "../common/mod.rs"]
mod common;

mod adapters;
mod blocks;
mod converted;
mod models;
mod refused;
mod support;
mod tokens;
mod written;
