//! Configurations of the original Valvula, read by `valvulactl import valvula`.

use support::{Home, programs};

use crate::document::{Section, code, ended};

pub fn section() -> Section {
    let home = Home::new(programs!());
    let rows: &[(&str, &[u8])] = &[
        ("", b""),
        ("", b"no XML at all"),
        ("", b"<valvula>"),
        ("", b"<valvula></general></valvula>"),
        ("", b"<other/>"),
        ("bytes that are no UTF-8, and no encoding said", b"<valvula a=\"\xe9\"/>"),
        ("", b"<valvula><general><listen host='mail.example' port='3579'/></general></valvula>"),
        ("", b"<valvula><general><listen host='127.0.0.1' port='x'/></general></valvula>"),
        ("", b"<valvula><general><listen host='127.0.0.1' port='0'/></general></valvula>"),
        ("", b"<valvula><enviroment><default-sending-quota><limit from='9' to='x'/></default-sending-quota></enviroment></valvula>"),
        ("", b"<valvula><enviroment><default-sending-quota><limit from='9:00' to='21:00' hour-limit='many'/></default-sending-quota></enviroment></valvula>"),
        ("an entity that stands for itself", b"<!DOCTYPE valvula [<!ENTITY a \"&a;\">]><valvula>&a;</valvula>"),
        ("entities that grow with each reference", ENTITIES),
    ];
    let rows = rows.iter().map(|(what, text)| {
        home.write("original.conf", text);
        let what = if what.is_empty() { code(&String::from_utf8_lossy(text)) } else { (*what).to_owned() };
        let file = home.path("original.conf");
        let output = home.valvulactl(&[
            "import",
            "valvula",
            file.to_str().unwrap(),
            "-o",
            home.path("new.toml").to_str().unwrap(),
        ]);
        assert!(output.code != Some(0) && !home.path("new.toml").exists(), "{what}: nothing is written: {output:?}");
        (what, ended(&output, &home, 2))
    });
    Section {
        title: "The original's configuration",
        about: "The whole of a file given to `valvulactl import valvula FILE -o NEW`. Nothing is written.",
        rows: rows.collect(),
    }
}

const ENTITIES: &[u8] = b"<!DOCTYPE valvula [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\">\
<!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;\"><!ENTITY f \"&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;\">]><valvula>&f;</valvula>";
