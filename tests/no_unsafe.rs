//! No `unsafe` of ours: every crate of the workspace forbids it, and nothing lifts that.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below `directory` with this ending; what is built is left out.
fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

#[test]
fn every_crate_forbids_it_and_no_source_has_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(workspace.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    let mut manifests = Vec::new();
    files(root, "Cargo.toml", &mut manifests);
    assert!(manifests.len() >= 10, "{manifests:?}");
    for manifest in manifests {
        // A workspace of its own: its library forbids it in its source.
        let text = match manifest.parent().unwrap().ends_with("fuzz") {
            true => fs::read_to_string(root.join("fuzz/src/lib.rs")).unwrap(),
            false => fs::read_to_string(&manifest).unwrap(),
        };
        let forbids = text.contains("\n[lints]\nworkspace = true\n") || text.contains("\n#![forbid(unsafe_code)]\n");
        assert!(forbids, "{} does not take the workspace's lints", manifest.display());
    }
    let mut sources = Vec::new();
    files(root, ".rs", &mut sources);
    assert!(sources.len() > 300, "{}", sources.len());
    let forms = ["{", "fn ", "impl ", "extern ", "trait ", "("].map(|form| ["unsafe", form].join(" "));
    let attribute = ["allow(unsafe", "code"].join("_");
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let found = forms.iter().chain([&attribute]).any(|form| line.contains(form.as_str()));
            assert!(!found, "{}: {line}", source.display());
        }
    }
}
