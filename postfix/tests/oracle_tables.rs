//! Our readers of tables against `postmap -q`, for every type that can be made here without a server.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod support;

use support::{Directory, ODD_KEYS, compare, is_native};

const SOURCE: &str = "# a table\nuser@example.com  one\nUser+Ext@Example.com\ttwo words \no'brien@example.com x\n\
    \"a b\"@example.com quoted\na\\b@example.com backslash\n100%@example.com percent\n@example.com   catch all\n\
    josé@example.com utf8\n-  dash\nexample.com   yes\n  continued\nuser  bare\n\
    # comment\n192.0.2.1 address\n${x}@example.com dollar\nuser@@example.com two\n";

#[tokio::test]
async fn tables_made_of_a_text_file() {
    let mut compared = 0;
    for level in ["0", "3.6"] {
        compared += tables_made_of_a_text_file_at(&format!("compatibility_level = {level}\n")).await;
    }
    assert!(compared >= 500, "{compared}");
}

async fn tables_made_of_a_text_file_at(main: &str) -> usize {
    let directory = Directory::new(main);
    let mut compared = 0;
    for kind in ["hash", "btree", "lmdb", "cdb", "texthash"] {
        let file = directory.write(&format!("source-{kind}"), SOURCE);
        let spec = format!("{kind}:{}", file.display());
        if kind != "texthash" {
            directory.postmap(&spec);
        }
        compared += compare(&directory, &spec, ODD_KEYS).await;
        compared += compare(&directory, &spec, &["x", "none@example.com", "two"]).await;
        let proxied = directory.tables().open(&format!("proxy:{spec}"));
        assert_eq!(proxied.get(b"USER@example.com").await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(is_native(&proxied), matches!(kind, "cdb" | "texthash"), "{kind}");
    }
    compared
}

#[tokio::test]
async fn tables_that_stand_in_the_parameter() {
    let directory = Directory::new("");
    let mut compared = 0;
    for spec in [
        "static:yes",
        "static:{two words}",
        "inline:{user@example.com=one, { @example.com = two words }, User=three, 100%@example.com=x}",
        "unionmap:{static:a,inline:{user@example.com=b}}",
        "unionmap:{inline:{user=x},inline:{user@example.com=b}}",
        "pipemap:{inline:{user@example.com=k, user=z},inline:{k=found}}",
        "pipemap:{static:k,unionmap:{inline:{k=1},static:2}}",
        "unix:passwd.byname",
        "unix:group.byname",
        "regexp:{{/^user@/ yes}}",
        "environ:PATH",
    ] {
        compared += compare(&directory, spec, ODD_KEYS).await;
    }
    assert!(compared >= 250, "{compared}");
}

const PATTERNS: &str = "# patterns\n/^user\\+.*@example\\.com$/  extension\n/^(.*)@example\\.org$/ $1@example.com\n\
    if /@/\n/^o'/ irish\n!/example/ elsewhere\nendif\n/^USER$/i exact\n/%/ percent of $$5\n/^[[:digit:].]+$/ digits\n\
    /^(a|b)\\*/ star\n/[\\]/ backslash\n/josé/ utf8\n/^-/ dash\n/@a\\.b(\\.[a-z]+)*$/ ${1}\n";

#[tokio::test]
async fn tables_of_patterns() {
    let directory = Directory::new("");
    let mut compared = 0;
    let posix = "/^us[a-z]+@/ plain\n/[[:upper:]]x/ upper\n/a{2,}/ twice\n/^([^@]+)@sub\\.(.*)$/ $1 at $2\n/(user|root)/ either\n";
    let unsure = "/\\<user\\>/ word\n/(a)\\1/ again\n/^(a|ab)(c|bcd)(d*)$/ $1-$2-$3\n";
    let pcre = "/^(?<name>user)(?!\\+)@/ ahead\n/\\d+%/x digits\n/^a\\sb@/ space\n/ROOT/i small\n/^.b?\"/U odd\n";
    for (kind, texts) in [("regexp", [PATTERNS, posix, unsure]), ("pcre", [PATTERNS, pcre, posix])] {
        for (number, text) in texts.into_iter().enumerate() {
            let file = directory.write(&format!("{kind}{number}"), text);
            let spec = format!("{kind}:{}", file.display());
            compared += compare(&directory, &spec, ODD_KEYS).await;
            compared +=
                compare(&directory, &spec, &["abcd", "aa", "USERx", "user@sub.example.com", "root@b", "99%"]).await;
        }
    }
    let cidr = "192.0.2.1 one\n192.0.2.0/24 net\n!10.0.0.0/8 not ten\n2001:db8::/32 six\n";
    let nested = "if 192.0.2.0/24\n192.0.2.1 inside\nendif\n10.0.0.0/8 ten\n";
    for (name, text) in [("cidr1", cidr), ("cidr2", nested)] {
        let file = directory.write(name, text);
        compared += compare(&directory, &format!("cidr:{}", file.display()), ODD_KEYS).await;
    }
    assert!(compared >= 400, "{compared}");
}

#[tokio::test]
async fn plain_patterns_are_answered_without_a_child() {
    let directory = Directory::new("");
    let file = directory.write("plain", "/^us[a-z]+@example\\.com$/ x\n");
    for kind in ["regexp", "pcre"] {
        let table = directory.tables().open(&format!("{kind}:{}", file.display()));
        assert_eq!(table.get(b"user@example.com").await.unwrap().as_deref(), Some(&b"x"[..]));
        assert!(is_native(&table));
    }
}

#[tokio::test]
async fn sqlite_tables() {
    let directory = Directory::new("");
    let database = directory.file("mail.db");
    let sql = "CREATE TABLE mailbox (username TEXT PRIMARY KEY, maildir TEXT, active INTEGER);\
        INSERT INTO mailbox VALUES ('user@example.com','example.com/user/',1),('o''brien@example.com','ob/',1),\
        ('a\\b@example.com','bs/',1),('100%@example.com','pc/',1),('off@example.com','x',0),('josé@example.com','u8/',1),\
        ('a\"b@example.com','q/',1),('' OR ''1''=''1','never',1);";
    let sql = sql.replace("('' OR ''1''=''1'", "(''' OR ''1''=''1'");
    let status = std::process::Command::new("sqlite3").arg(&database).arg(&sql).status();
    assert!(status.expect("sqlite3 is needed: apt-get install sqlite3").success());
    let mut compared = 0;
    for query in [
        "SELECT maildir FROM mailbox WHERE username='%s' AND active = 1",
        "SELECT username, maildir, NULL, active FROM mailbox WHERE username LIKE '%%@%d' ORDER BY username",
        "SELECT '%u' || ' of ' || '%d', 7 FROM mailbox WHERE username = '%s'",
        "SELECT maildir FROM mailbox WHERE username = '%u@%2.%1'",
        "SELECT maildir FROM mailbox WHERE username = '%s' -- comment",
        "SELECT 1.5 FROM mailbox WHERE username = '%s'",
    ] {
        for extra in [
            "",
            "result_format = [%s] %%\n",
            "result_format = %U is %s\ndomain = example.com, example.org\n",
            "result_format = %d\n",
        ] {
            let text = format!("dbpath = {}\nquery = {query}\n{extra}", database.display());
            let file = directory.write("sqlite.cf", text);
            compared += compare(&directory, &format!("sqlite:{}", file.display()), ODD_KEYS).await;
        }
    }
    let old = format!(
        "dbpath = {}\nselect_field = maildir\ntable = mailbox\nwhere_field = username\nadditional_conditions = AND active = '1'\n",
        database.display()
    );
    let file = directory.write("old.cf", old);
    compared += compare(&directory, &format!("sqlite:{}", file.display()), ODD_KEYS).await;
    assert!(compared >= 1000, "{compared}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_an_error_and_not_a_no() {
    let directory = Directory::new("");
    directory.write("bad-sql", "dbpath = /nonexistent/db\nquery = SELECT '%s'\n");
    directory.write("bad-template", "dbpath = /nonexistent/db\nquery = SELECT '%x'\n");
    for spec in [
        "hash:/nonexistent/x".to_owned(),
        "cdb:/nonexistent/x".to_owned(),
        "lmdb:/nonexistent/x".to_owned(),
        "texthash:/nonexistent/x".to_owned(),
        "regexp:/nonexistent/x".to_owned(),
        "pcre:/nonexistent/x".to_owned(),
        "cidr:/nonexistent/x".to_owned(),
        "mysql:/nonexistent/x".to_owned(),
        "nosuchtype:x".to_owned(),
        "fail:x".to_owned(),
        "inline:x".to_owned(),
        "unix:shadow.byname".to_owned(),
        "unionmap:{static:a,hash:/nonexistent/x}".to_owned(),
        "tcp:127.0.0.1:1".to_owned(),
        "no colon".to_owned(),
        format!("sqlite:{}", directory.file("bad-sql").display()),
        format!("sqlite:{}", directory.file("bad-template").display()),
    ] {
        let table = directory.tables().open(&spec);
        let answer = table.get(b"user@example.com").await;
        assert!(answer.is_err(), "{spec}: {answer:?}");
        assert_eq!(table.counts().failed, 1);
    }
}
