//! The `melos` program: see [`melos::cli`].

#[cfg(feature = "cli")]
fn main() -> std::process::ExitCode {
    melos::cli::main()
}

#[cfg(not(feature = "cli"))]
fn main() {
    eprintln!("melos: this build has no command line; build with the feature 'cli' (the default)");
}
