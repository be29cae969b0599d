//! Manual pages and completions. What a flag is called and does is read from the programs' own help, so
//! that no page can say otherwise; what is not in the help (exit codes, signals, files) stands here.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use structopt::StructOpt as _;
use structopt::clap::{App, AppSettings, Shell};
use valvulad::cli::{control, flags};

/// The commented example configuration: its manual page is itself.
const EXAMPLE: &str = include_str!("../../etc/valvula.toml");

/// Written out from what docs/operations.md says.
const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "Yes; done; good."),
    ("1", "No; something is not as it should be; an order was refused."),
    ("64", "Wrong use of flags."),
    ("69", "No daemon there; an address, a socket, a database or a module is not to be had."),
    ("70", "The program or the system under it failed."),
    ("75", "It could not be asked."),
    ("78", "The configuration has a fault."),
];

const SIGNALS: [(&str, &str); 3] = [
    ("TERM, INT", "Stops when the requests in hand are answered; a second one ends it at once."),
    ("HUP", "Reads the configuration again. With any fault the old one stays."),
    ("USR1", "Writes the statistics to the log."),
];

const FILES: [(&str, &str); 4] = [
    ("/etc/valvula/valvula.toml", "The configuration: valvula.toml(5)."),
    ("/etc/valvula/conf.d/*.toml", "Read after it, in the order of their names."),
    ("/var/lib/valvula", "The embedded database."),
    ("/run/valvula/control.sock", "Where valvulactl(8) reaches the daemon."),
];

/// A program and what its page says besides its help.
struct Program {
    name: &'static str,
    app: fn() -> App<'static, 'static>,
    is_daemon: bool,
}

const PROGRAMS: [Program; 2] = [
    Program { name: "valvulad", app: flags::Flags::clap, is_daemon: true },
    Program { name: "valvulactl", app: control::Flags::clap, is_daemon: false },
];

/// Writes `man/` and `completions/` below `directory`.
pub fn write(directory: &Path) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for program in &PROGRAMS {
        fs::write(man.join(format!("{}.8", program.name)), page(program))?;
        for (shell, ending) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            let mut file = fs::File::create(completions.join(format!("{}.{ending}", program.name)))?;
            (program.app)().gen_completions_to(program.name, shell, &mut file);
        }
    }
    fs::write(man.join("valvula.toml.5"), configuration())
}

/// The help of a command of `program`, one entry and one text a line each.
fn help(program: &Program, command: &[String]) -> String {
    let app = (program.app)().global_setting(AppSettings::NextLineHelp).set_term_width(0);
    let arguments = [&[program.name.to_owned()], command, &["--help".to_owned()]].concat();
    app.get_matches_from_safe(arguments).expect_err("help is no match").message
}

/// A section of a help: its name, and its entries with their texts.
type Entries = Vec<(String, String)>;

/// What the program is for, and the sections of its help.
fn parsed(help: &str) -> (String, Vec<(String, Entries)>) {
    let mut about = String::new();
    let mut sections: Vec<(String, Entries)> = Vec::new();
    for line in help.lines().skip(1) {
        if let Some(name) = line.strip_suffix(':').filter(|name| name.chars().all(|c| c.is_ascii_uppercase())) {
            sections.push((name.to_owned(), Vec::new()));
            continue;
        }
        let text = line.trim();
        let Some((_, entries)) = sections.last_mut() else {
            about += text;
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        match entries.last_mut() {
            _ if text.is_empty() => {}
            Some((_, said)) if indent > 4 => {
                *said += if said.is_empty() { "" } else { " " };
                *said += text;
            }
            _ => entries.push((text.to_owned(), String::new())),
        }
    }
    (about, sections)
}

fn section<'a>(sections: &'a [(String, Entries)], name: &str) -> &'a [(String, String)] {
    sections.iter().find(|(known, _)| known == name).map_or(&[], |(_, entries)| entries)
}

fn page(program: &Program) -> String {
    let (about, sections) = parsed(&help(program, &[]));
    let mut page = head(program.name, 8, &about);
    page += ".SH SYNOPSIS\n";
    for (usage, _) in section(&sections, "USAGE") {
        writeln!(page, ".B {}", escaped(usage)).expect("a string");
    }
    page += ".SH OPTIONS\n";
    list(&mut page, section(&sections, "FLAGS"));
    list(&mut page, section(&sections, "OPTIONS"));
    if !section(&sections, "SUBCOMMANDS").is_empty() {
        page += ".SH COMMANDS\n";
        commands(&mut page, program, &[]);
    }
    page += ".SH EXIT STATUS\n";
    list(&mut page, &owned(&EXIT_CODES));
    if program.is_daemon {
        page += ".SH SIGNALS\n";
        list(&mut page, &owned(&SIGNALS));
    }
    page += ".SH FILES\n";
    list(&mut page, &owned(&FILES));
    let other = if program.is_daemon { "valvulactl" } else { "valvulad" };
    writeln!(page, ".SH SEE ALSO\n.BR {other} (8),\n.BR valvula.toml (5),\n.BR postconf (5)").expect("a string");
    page
}

/// The commands below `path`, each with its own flags, and those below them.
fn commands(page: &mut String, program: &Program, path: &[String]) {
    let (_, sections) = parsed(&help(program, path));
    let below: Vec<_> = section(&sections, "SUBCOMMANDS").iter().filter(|(name, _)| name != "help").collect();
    for (name, about) in below {
        let path = [path, std::slice::from_ref(name)].concat();
        let (_, sections) = parsed(&help(program, &path));
        let usage = section(&sections, "USAGE").first().map_or("", |(usage, _)| usage);
        let usage = usage.strip_prefix(program.name).unwrap_or(usage).trim_start();
        writeln!(page, ".SS {}\n{}", escaped(usage), escaped(about)).expect("a string");
        // Every command has these two and --json.
        let own = |(name, _): &&(String, String)| {
            !name.starts_with("-h, ") && !name.contains("--json") && !name.contains("--version")
        };
        for part in ["ARGS", "FLAGS", "OPTIONS"] {
            let entries: Vec<_> = section(&sections, part).iter().filter(own).cloned().collect();
            list(page, &entries);
        }
        commands(page, program, &path);
    }
}

/// A page of the example configuration, as it is.
fn configuration() -> String {
    let mut page = head("valvula.toml", 5, "configuration of valvulad(8)");
    page += ".SH DESCRIPTION\n";
    page += "The configuration of\n.BR valvulad (8),\nin TOML. Each key stands below with its default, commented out. ";
    page += "Unknown keys and bad values are faults, all of which\n.B valvulad \\-\\-check\\-config\nshows at once.\n";
    page += ".SH EXAMPLE\n.nf\n";
    for line in EXAMPLE.lines() {
        writeln!(page, "{}", escaped(line)).expect("a string");
    }
    page += ".fi\n.SH FILES\n";
    list(&mut page, &owned(&FILES));
    page + ".SH SEE ALSO\n.BR valvulad (8),\n.BR valvulactl (8)\n"
}

fn head(name: &str, section: u8, about: &str) -> String {
    let about = about.trim_end_matches('.');
    let title = name.to_uppercase();
    format!(
        ".TH {title} {section} \"\" \"valvula {}\" \"\"\n.SH NAME\n{name} \\- {}\n",
        env!("CARGO_PKG_VERSION"),
        escaped(about)
    )
}

fn list(page: &mut String, entries: &[(String, String)]) {
    for (term, text) in entries {
        writeln!(page, ".TP\n.B {}\n{}", escaped(term), escaped(text)).expect("a string");
    }
}

fn owned(entries: &[(&str, &str)]) -> Entries {
    entries.iter().map(|(term, text)| ((*term).to_owned(), (*text).to_owned())).collect()
}

/// What roff would take for its own is written so that it does not.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
