//! `valvulactl import valvula FILE`: the configuration of the original Valvula (XML) as ours (TOML).
//!
//! What has no counterpart becomes a comment in the place where it would stand, and a line of the report,
//! with the line it was read from. What can't be understood at all (no XML, an address that is none) is
//! refused, and nothing is written.
//!
//! - `xml`: elements and attributes, of which none is passed over in silence
//! - `convert`: what each element means here; `values`: what its attributes mean
//! - `write`, `output`: the TOML text

mod convert;
mod output;
#[cfg(test)]
mod tests;
mod values;
mod write;
mod xml;

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use structopt::StructOpt;

use super::exit::{Exit, Failure};

/// Where a configuration comes from.
#[derive(Debug, StructOpt)]
pub enum Import {
    /// The configuration of the original Valvula, /etc/valvula/valvula.conf
    Valvula {
        /// The XML file
        #[structopt(value_name = "FILE", parse(from_os_str))]
        file: PathBuf,
        /// Only reports what has no counterpart here
        #[structopt(long)]
        check: bool,
        /// Writes the configuration there (mode 0640: it may hold a password); absent: prints it
        #[structopt(short, long, value_name = "FILE", parse(from_os_str), conflicts_with = "check")]
        output: Option<PathBuf>,
    },
}

/// Something that was read and is not in the result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    line: u32,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// What came of a file.
struct Imported {
    toml: String,
    findings: Vec<Finding>,
}

impl Import {
    /// Imports, and says what is to be shown: the value for `--json`.
    ///
    /// # Errors
    /// When the file can't be read or understood, or the result not be written.
    pub fn run(&self) -> Result<Value, Failure> {
        let Self::Valvula { file, check, output } = self;
        let failed = |what: String| Failure::new(Exit::No, format!("{}: {what}", file.display()));
        let bytes = fs::read(file).map_err(|error| failed(format!("can't be read: {error}")))?;
        let text = xml::decode(&bytes).map_err(&failed)?;
        let imported = convert::convert(&text).map_err(|faults| {
            let lines = faults.iter().map(|fault| format!("{}: {fault}", file.display())).collect();
            Failure { exit: Exit::No, lines }
        })?;
        let mut answer = json!({
            "findings": imported
                .findings
                .iter()
                .map(|finding| json!({ "line": finding.line, "what": finding.what }))
                .collect::<Vec<_>>(),
        });
        match output {
            Some(path) => {
                let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
                written
                    .and_then(|mut new| new.write_all(imported.toml.as_bytes()))
                    .map_err(|error| Failure::new(Exit::No, format!("{}: {error}", path.display())))?;
                answer["written"] = path.display().to_string().into();
            }
            None if !check => answer["toml"] = imported.toml.into(),
            None => {}
        }
        Ok(answer)
    }

    /// The answer, for people: the configuration, which holds all findings as comments; or the findings.
    pub fn text(&self, answer: &Value) -> String {
        if let Some(toml) = answer["toml"].as_str() {
            return toml.to_owned();
        }
        let Self::Valvula { file, .. } = self;
        let findings = answer["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut text: String = findings
            .iter()
            .map(|finding| {
                format!("{}:{}: {}\n", file.display(), finding["line"], finding["what"].as_str().unwrap_or(""))
            })
            .collect();
        match answer["written"].as_str() {
            Some(path) => text += &format!("{path} is written; check it: valvulad -c {path} --check-config\n"),
            None if findings.is_empty() => text += "everything has a counterpart\n",
            None => {}
        }
        text
    }
}
