//! Where what can be made again is kept between runs: tokenised text, measured choices.

use std::path::PathBuf;

/// `MELOS_CACHE`, or the user's cache folder: `XDG_CACHE_HOME/melos`, `LOCALAPPDATA/melos`,
/// `HOME/.cache/melos`, whichever is set first. It may not exist yet.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("MELOS_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("melos")))
        .or_else(|| set("LOCALAPPDATA").map(|d| d.join("melos")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/melos")))
}
