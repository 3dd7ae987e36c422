//! The engine, held to what it promises: it is given a reader that fails.

use std::process::{Command, Stdio};

use crate::engine::{self, Target};

/// How the reader fails: as this says, in a process of its own.
const HOW: &str = "MELOS_FUZZ_ITSELF";

#[test]
fn itself() {
    if std::env::var_os(HOW).is_none() {
        return;
    }
    let target = Target {
        seeds: vec![b"whole".to_vec()],
        words: &[],
        read: Box::new(|_, input| {
            let how = std::env::var(HOW).unwrap_or_default();
            match how.as_str() {
                _ if input == b"whole" => {}
                "panics" => panic!("as it should"),
                "hangs" => std::thread::sleep(std::time::Duration::from_secs(60)),
                "allocates" => drop(vec![1u8; 2 << 30]),
                _ => {}
            }
            Ok(())
        }),
    };
    engine::run("itself", (1, 1), target);
}

#[test]
fn a_reader_that_fails_is_found_and_its_input_kept() {
    let program = std::env::current_exe().unwrap();
    let start = |how: &str| {
        let mut command = Command::new(&program);
        command.args(["itself::itself", "--exact"]);
        command.envs([(HOW, how), ("MELOS_FUZZ", "20")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let all = ["panics", "hangs", "allocates", "does well"].map(|how| (how, start(how)));
    let ended = all.map(|(how, child)| (how, child.wait_with_output().unwrap()));
    let _alone = engine::alone();
    for (how, done) in ended {
        let text = [done.stdout, done.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(done.status.success(), how == "does well", "{how}: {text}");
        let said = match how {
            "panics" => "panics: as it should",
            "hangs" => "takes more than 10 seconds",
            "allocates" => "takes more than 1 GiB (2147483648 bytes at once)",
            _ => "test result: ok. 1 passed",
        };
        assert!(text.contains(said), "{how}: {text}");
        if how != "does well" {
            let path = text.split("the input is in ").nth(1).unwrap();
            let path = path.split(" (Ok(()))").next().unwrap();
            assert!(std::path::Path::new(path).exists(), "{text}");
        }
    }
}
