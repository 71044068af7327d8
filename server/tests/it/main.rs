//! The program's command line, as a person or a script meets it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod api;
mod behind_nginx;
mod blob;
mod cameras;
mod cross_origin;
#[path = "../../../catalog/tests/it/database.rs"]
#[allow(dead_code, unused_macros, unused_imports, reason = "the catalog's tests use the rest")]
mod database;
mod fixture;
mod half_open;
mod ingest;
mod jobs;
#[path = "../../../catalog/tests/it/links.rs"]
mod links;
mod openapi;
mod page_cache;
mod processes;
mod program;
mod router;
mod sessions;
mod signalling;
mod start_and_stop;
mod store_away;
#[path = "../../../catalog/tests/it/store_suite.rs"]
mod store_suite;
mod thumbs;
mod uploads;
#[path = "../../../catalog/tests/it/weed.rs"]
mod weed;
mod whip;

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs damwall in a folder of its own, with no variable of ours set.
fn damwall(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_damwall"));
    command.args(arguments).current_dir(folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(env.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit code 2 and one line that says all of `words`.
fn assert_usage_error(output: &Output, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
}

#[test]
fn config_check_tells_what_the_configuration_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    let camera = ("CAM_RTSP_DOOR", "rtsp://admin:s3cret@192.0.2.1/stream");
    let output = damwall(folder.path(), &["config", "check"], &[("PORT", "8080"), camera]);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(text.contains("127.0.0.1:8080") && text.contains("door"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_bad_configuration_is_one_line_that_names_the_field_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damwall.toml");
    std::fs::write(&file, "[server]\nadress = \"127.0.0.1:1\"\n").unwrap();
    for command in [&["config", "check"][..], &["serve"], &["import", "."], &["scan"]] {
        assert_usage_error(
            &damwall(folder.path(), command, &[]),
            &["server.adress", "damwall.toml"],
        );
    }
    std::fs::write(&file, "[server]\naddr = 3000\n").unwrap();
    assert_usage_error(&damwall(folder.path(), &["config", "check"], &[]), &["server.addr"]);
    std::fs::remove_file(&file).unwrap();
    let missing = ["config", "check", "--config", "nowhere.toml"];
    assert_usage_error(&damwall(folder.path(), &missing, &[]), &["nowhere.toml"]);
    let bad_addr = ["serve", "--addr", "everywhere"];
    assert_usage_error(&damwall(folder.path(), &bad_addr, &[]), &["server.addr", "--addr"]);
}

#[test]
fn every_command_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    for command in
        [&[][..], &["serve"], &["import"], &["scan"], &["camera", "probe"], &["config", "check"]]
    {
        let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let output = damwall(folder.path(), &arguments, &[]);
        assert!(
            output.status.success() && stdout(&output).contains("Usage: damwall"),
            "{command:?}"
        );
    }
}

#[test]
fn the_version_says_how_the_program_was_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let text = stdout(&damwall(folder.path(), &["--version"], &[]));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    assert_eq!(text, format!("damwall {} ({build})\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn probe_says_why_a_camera_cannot_be_reached_and_never_repeats_the_password() {
    let folder = tempfile::tempdir().unwrap();
    // Port 9 (discard) has no listener here.
    let url = "rtsp://admin:s3cret@127.0.0.1:9/stream";
    let output = damwall(folder.path(), &["camera", "probe", url], &[]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("connection refused") && !text.contains("s3cret"), "{text}");
    let bad = damwall(folder.path(), &["camera", "probe", "http://admin:s3cret@host/"], &[]);
    assert_usage_error(&bad, &["unsupported scheme"]);
    assert!(!stderr(&bad).contains("s3cret"));
}

#[test]
fn import_copies_a_folder_once_and_scan_finds_what_was_put_there_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    // The smallest PNG: one transparent pixel.
    let png = hex::decode(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6260000000\
         0000ffff030000060005d4a6d4d90000000049454e44ae426082",
    )
    .unwrap();
    std::fs::write(pictures.join("dot.png"), &png).unwrap();
    std::fs::write(pictures.join("notes.txt"), "no picture").unwrap();
    let first = stdout(&damwall(folder.path(), &["import", "pictures"], &[]));
    assert!(first.starts_with("1 imported, 0 already there, 1 skipped"), "{first}");
    let second = stdout(&damwall(folder.path(), &["import", "pictures"], &[]));
    assert!(second.starts_with("0 imported, 1 already there"), "{second}");

    let by_hand = folder.path().join("data/blobs/by hand");
    std::fs::create_dir(&by_hand).unwrap();
    std::fs::write(by_hand.join("other.png"), [png.as_slice(), b"x"].concat()).unwrap();
    let found = stdout(&damwall(folder.path(), &["scan"], &[]));
    assert!(found.starts_with("1 found"), "{found}");

    let missing = damwall(folder.path(), &["import", "nowhere"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("nowhere"), "{}", stderr(&missing));
}
