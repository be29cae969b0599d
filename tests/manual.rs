//! The manual pages and completions: every flag and command of the programs' help is in them, and roff
//! understands the pages.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::process::Command;

use support::{Home, programs};

#[path = "../examples/manual/pages.rs"]
mod pages;

#[test]
fn every_flag_and_command_of_the_help_is_in_page_and_completions() {
    let directory = tempfile::tempdir().unwrap();
    pages::write(directory.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let home = Home::with(programs!(), "");
    let helps = [
        ("valvulad", home.valvulad(&["--help"]).ok().stdout),
        ("valvulactl", home.valvulactl(&["--help"]).ok().stdout),
        ("valvulactl", home.valvulactl(&["ticket", "assign", "--help"]).ok().stdout),
        ("valvulactl", home.valvulactl(&["rule", "add", "global", "--help"]).ok().stdout),
    ];
    for (program, help) in &helps {
        let page = read(&format!("man/{program}.8")).replace("\\-", "-");
        let words: Vec<_> = help
            .split(|c: char| c.is_whitespace() || c == ',')
            .map(|word| word.trim_end_matches([':', ';', ')']))
            .filter(|word| word.starts_with("--"))
            .collect();
        assert!(words.len() > 3, "{help}");
        for flag in &words {
            assert!(page.contains(flag), "{flag} is not in {program}.8");
            for shell in ["bash", "zsh", "fish"] {
                let completion = read(&format!("completions/{program}.{shell}"));
                assert!(completion.contains(flag.trim_start_matches('-')), "{flag}, {shell}");
            }
        }
    }
    let commands = helps[1].1.split("SUBCOMMANDS:").nth(1).unwrap();
    // What is indented further goes on with the text before.
    let named = commands.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    for command in named.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help") {
        assert!(read("man/valvulactl.8").replace("\\-", "-").contains(&format!(".SS {command}")), "{command}");
    }
    assert!(read("man/valvula.toml.5").contains("[[listener]]"));
    for page in ["valvulad.8", "valvulactl.8", "valvula.toml.5"] {
        let path = directory.path().join("man").join(page);
        // groff is no package that the tests install; where it is, it has no objection.
        if let Ok(output) = Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8", "-Kutf8"]).arg(&path).output() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let objections: Vec<_> = said
                .lines()
                .filter(|line| !line.contains("can't break line") && !line.contains("cannot adjust"))
                .collect();
            assert!(objections.is_empty(), "{page}: {objections:#?}");
        }
    }
}
