//! `unix:passwd.byname` and `unix:group.byname`: the system's users, from wherever the name service has
//! them.

use nix::unistd::{Group, User};

use super::TableError;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Database {
    Passwd,
    Group,
}

impl Database {
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "passwd.byname" => Ok(Self::Passwd),
            "group.byname" => Ok(Self::Group),
            _ => Err(format!("unknown table unix:{name}: expected passwd.byname or group.byname")),
        }
    }
}

/// The line of `name` in the file's form. The name service may wait for a server: it has its own thread.
pub(super) async fn get(database: Database, name: String) -> Result<Option<Vec<u8>>, TableError> {
    // No user's name has these, and the name service need not be asked whether.
    if name.contains(['@', ':', '\0', '/']) {
        return Ok(None);
    }
    let line = move || match database {
        Database::Passwd => Ok(User::from_name(&name)?.map(|user| {
            let password = user.passwd.to_string_lossy().into_owned();
            let gecos = user.gecos.to_string_lossy().into_owned();
            let (dir, shell) = (user.dir.display(), user.shell.display());
            format!("{}:{password}:{}:{}:{gecos}:{dir}:{shell}", user.name, user.uid, user.gid)
        })),
        Database::Group => Ok(Group::from_name(&name)?.map(|group| {
            let password = group.passwd.to_string_lossy().into_owned();
            format!("{}:{password}:{}:{}", group.name, group.gid, group.mem.join(","))
        })),
    };
    let found: Result<Option<String>, nix::Error> = tokio::task::spawn_blocking(line).await.map_err(TableError::new)?;
    found.map(|line| line.map(String::into_bytes)).map_err(TableError::new)
}
