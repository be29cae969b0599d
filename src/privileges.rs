//! Gives up root for good: another user, its groups, nothing of root's left.
//!
//! Done once, after the ports are bound. What remains possible afterwards is tried, so that a platform on
//! which something of it does not work is noticed at start and not by an intruder.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, geteuid, getgroups, initgroups, setgid, setuid};

use crate::config::Identity;

/// Why the daemon can't run as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Only root can become somebody else.
    #[error("can't become user {0}: only root can; start as root, or as that user")]
    NotRoot(String),
    /// The system refused a step.
    #[error("can't become user {user}: {step}: {source}")]
    Refused {
        /// Whom to become.
        user: String,
        /// What was refused.
        step: &'static str,
        /// What the system said.
        source: Errno,
    },
    /// Something of root's was still there afterwards.
    #[error("became user {user}, but {what}")]
    Left {
        /// Whom to become.
        user: String,
        /// What was left.
        what: &'static str,
    },
}

/// Becomes `identity`, with its supplementary groups, in all threads. Nothing to do when it is so already.
pub fn drop_to(identity: &Identity) -> Result<(), PrivilegeError> {
    let user = || identity.name.clone();
    if !geteuid().is_root() {
        return if geteuid() == identity.uid { Ok(()) } else { Err(PrivilegeError::NotRoot(user())) };
    }
    let refused = |step| move |source| PrivilegeError::Refused { user: identity.name.clone(), step, source };
    let name = CString::new(user()).map_err(|_| refused("its name holds a NUL byte")(Errno::EINVAL))?;
    initgroups(&name, identity.gid).map_err(refused("its groups"))?;
    setgid(identity.gid).map_err(refused("its group"))?;
    // From root this sets the real, effective and saved id, in every thread.
    setuid(identity.uid).map_err(refused("its id"))?;
    match remains(identity) {
        Some(what) => Err(PrivilegeError::Left { user: user(), what }),
        None => Ok(()),
    }
}

/// What of root's is left, if anything.
fn remains(identity: &Identity) -> Option<&'static str> {
    if identity.uid.is_root() {
        return None;
    }
    if geteuid() != identity.uid || Uid::current() != identity.uid {
        return Some("its user id is not that user's");
    }
    if Gid::effective() != identity.gid || Gid::current() != identity.gid {
        return Some("its group is not that user's");
    }
    let roots = Gid::from_raw(0);
    if identity.gid != roots && !is_member_of_root(identity) && getgroups().is_ok_and(|all| all.contains(&roots)) {
        return Some("root's group is still there");
    }
    if setuid(Uid::from_raw(0)).is_ok() {
        return Some("it could become root again");
    }
    None
}

/// Somebody may really have put the user into root's group.
fn is_member_of_root(identity: &Identity) -> bool {
    let Ok(name) = CString::new(identity.name.clone()) else { return false };
    nix::unistd::getgrouplist(&name, identity.gid).is_ok_and(|groups| groups.contains(&Gid::from_raw(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, uid: u32) -> Identity {
        Identity { name: name.to_owned(), uid: Uid::from_raw(uid), gid: Gid::from_raw(uid) }
    }

    /// Dropping itself is tested on the running daemon: here it would change the test's own process.
    #[test]
    fn who_is_not_root_can_only_stay_who_he_is() {
        if geteuid().is_root() {
            return assert_eq!(remains(&identity("root", 0)), None);
        }
        drop_to(&identity("me", geteuid().as_raw())).unwrap();
        assert!(matches!(drop_to(&identity("other", geteuid().as_raw() + 1)), Err(PrivilegeError::NotRoot(_))));
    }
}
