//! Tells the program what it was built from, for the fingerprint in its reports.

use std::path::Path;
use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    println!("cargo::rustc-env=THRONG_RUSTC={}", line_of(Command::new(rustc).arg("--version")));
    println!("cargo::rustc-env=THRONG_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    // Empty outside a checkout, as in a source archive.
    println!("cargo::rustc-env=THRONG_COMMIT={}", line_of(Command::new("git").args(["rev-parse", "HEAD"])));
    println!("cargo::rerun-if-changed=build.rs");
    for path in ["../.git/HEAD", "../.git/logs/HEAD"] {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn line_of(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
