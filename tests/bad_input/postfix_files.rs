//! Postfix's own files, asked by `valvulad -l example.com`: what can't be read is never a "no".

use support::{Home, programs};

use crate::document::{Section, code, ended};

pub fn section() -> Section {
    let rows = [
        ("mydestination = example.com\nnonsense", None),
        ("= x\nmydestination = example.com", None),
        ("mydestination = $mydestination", None),
        ("mydestination = ${x", None),
        ("mydestination = ${{a} =! {b} ? {c}}", None),
        ("mydestination = /nonexistent/domains", None),
        ("mydestination = texthash:/nonexistent/domains", None),
        ("mydestination = nosuchtype", None),
        ("mydestination = tcp:nowhere", None),
        ("mydestination = a\nvirtual_alias_domains = mysql:/nonexistent.cf", None),
        ("mydestination = a\nswap_bangpath = perhaps", None),
        ("mydestination = a", Some("smtp inet n - y - -\n")),
        ("mydestination = a", Some("smtp ether n - y - - smtpd\n")),
        ("mydestination = a", Some("smtp inet n - y - many smtpd -o { a\n")),
    ];
    let rows = rows.into_iter().map(|(main, master)| {
        let home = Home::new(programs!());
        let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n";
        home.configure(&format!("[postfix]\nconfig_directory = \"{}\"\n{listener}", home.path("postfix").display()));
        home.write("postfix/main.cf", format!("myhostname = mx.example.net\n{main}\n"));
        if let Some(master) = master {
            home.write("postfix/master.cf", master);
        }
        let lines = main.lines().chain(master.iter().flat_map(|text| text.lines())).map(code);
        let sent = lines.collect::<Vec<_>>().join("<br>");
        (sent, ended(&home.valvulad(&["-l", "example.com"]), &home, 1))
    });
    Section {
        title: "Postfix's configuration",
        about: "The lines of main.cf behind `myhostname`, and master.cf where the last line is one of it. What is shown is \
                `valvulad -l example.com`: 75 is \"could not ask\", never \"no\".",
        rows: rows.collect(),
    }
}
