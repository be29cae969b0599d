//! Postfix's own configuration as a source of answers, read again by itself when its files change.
//!
//! The crate `notify` wakes us when something happens in a directory that holds one of the files; what
//! then decides is whether a file really is another one (time, size, inode). The same is looked at once a
//! second anyway, for file systems that tell nobody. A configuration with a fault is not taken over: the
//! old one goes on answering, and the log says what is wrong.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use libvalvula::AddressKey;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use postfix::{Answer, Resolver, State, Verdict};
use slog::{Logger, error, info, warn};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::actor::LocalQuestions;
use super::sources::{Owners, Source};
use crate::local::{Truth, is_routed};
use crate::module::{BoxFuture, Unavailable};

/// How often the files are looked at when nothing was heard of them.
const LOOK: Duration = Duration::from_secs(1);

/// An editor or `postconf -e` writes more than once: this long is waited for the rest.
const SETTLE: Duration = Duration::from_millis(100);

/// Postfix's configuration, the latest without a fault.
pub struct Detected {
    resolver: ArcSwap<Resolver>,
    /// When the last reading began: a file written after that may have been read before.
    read_since: Mutex<SystemTime>,
    log: Logger,
}

impl Detected {
    /// Reads the configuration. A fault in it is logged; until it is mended its questions cannot be asked.
    pub async fn load(settings: postfix::Settings, log: &Logger) -> Arc<Self> {
        let since = SystemTime::now();
        let resolver = Resolver::load(settings).await;
        report(&resolver, log, "cannot be used");
        let resolver = ArcSwap::from_pointee(resolver);
        Arc::new(Self { resolver, read_since: Mutex::new(since), log: log.clone() })
    }

    /// The latest configuration without a fault.
    pub fn resolver(&self) -> Arc<Resolver> {
        self.resolver.load_full()
    }

    /// Reads the configuration again, with `settings`. Whether it was taken over.
    pub async fn reload(&self, settings: postfix::Settings) -> bool {
        *self.read_since.lock() = SystemTime::now();
        let resolver = Resolver::load(settings).await;
        let had_one = !matches!(self.resolver.load().state(), State::Faulty(_));
        if matches!(resolver.state(), State::Faulty(_)) && had_one {
            report(&resolver, &self.log, "has a fault, the old one stays in force");
            return false;
        }
        report(&resolver, &self.log, "cannot be used");
        self.resolver.store(Arc::new(resolver));
        true
    }

    /// Follows the files until the returned guard is dropped. Must be called within the runtime.
    pub fn follow(self: &Arc<Self>, questions: LocalQuestions) -> FollowGuard {
        let task = actix_rt::spawn(follow(self.clone(), questions));
        FollowGuard(task)
    }
}

/// Ends the following of Postfix's files when dropped.
pub struct FollowGuard(actix_rt::task::JoinHandle<()>);

impl Drop for FollowGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn report(resolver: &Resolver, log: &Logger, what: &'static str) {
    for warning in resolver.warnings() {
        warn!(log, "postfix configuration"; "warning" => %warning);
    }
    match resolver.state() {
        State::Faulty(faults) => {
            for fault in faults {
                error!(log, "postfix configuration {}", what; "fault" => %fault);
            }
        }
        State::Read => info!(log, "postfix configuration read";
            "directory" => %resolver.settings().config_directory.display(), "files" => resolver.files().len()),
        State::Off | State::Absent(_) => {}
    }
}

/// What tells one state of a file from another; `None` when it is not there.
type Look = Option<(SystemTime, u64, u64)>;

async fn look_at(files: BTreeSet<PathBuf>) -> Vec<(PathBuf, Look)> {
    let look = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        // The change time, not the modification time: it also moves when another file takes the name.
        let changed = Duration::new(u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
        Some((SystemTime::UNIX_EPOCH + changed, file.len(), file.ino()))
    };
    // A file may be on a file system that hangs: not on the system's thread.
    let looked = tokio::task::spawn_blocking(move || {
        files.into_iter().map(|path| (path.clone(), look(&path))).collect::<Vec<_>>()
    });
    looked.await.unwrap_or_default()
}

/// Whether a file was written so late that a reading begun at `since` may have missed it. File systems
/// take their time from a clock that ticks a hundred times a second or more.
fn may_be_missed(looks: &[(PathBuf, Look)], since: SystemTime) -> bool {
    let since = since - Duration::from_millis(20);
    looks.iter().any(|(_, look)| look.is_some_and(|(changed, ..)| changed >= since))
}

async fn follow(detected: Arc<Detected>, questions: LocalQuestions) {
    let heard = Arc::new(Notify::new());
    // What was read once more already: a file dated in the future is not read each second.
    let mut read_again = Vec::new();
    let mut resolver = detected.resolver();
    let mut seen = look_at(resolver.files().clone()).await;
    let mut ears = listen_or_say(&resolver, &heard, &detected.log);
    loop {
        if timeout(LOOK, heard.notified()).await.is_ok() {
            sleep(SETTLE).await;
        }
        if ears.is_none() {
            // There may have been no descriptor left.
            ears = listen(&resolver, &heard).ok();
        }
        let now = look_at(resolver.files().clone()).await;
        let missed = now != read_again && may_be_missed(&now, *detected.read_since.lock());
        if now == seen && !missed && Arc::ptr_eq(&resolver, &detected.resolver()) {
            continue;
        }
        if now != seen || missed {
            if missed {
                read_again.clone_from(&now);
            }
            seen = now;
            if detected.reload(resolver.settings().clone()).await {
                questions.configuration_changed(detected.resolver().recipient_delimiter());
            }
        }
        if !Arc::ptr_eq(&resolver, &detected.resolver()) {
            // Other files may be read now.
            resolver = detected.resolver();
            seen = look_at(resolver.files().clone()).await;
            ears = listen_or_say(&resolver, &heard, &detected.log);
        }
    }
}

/// [`listen`], and a line in the log if that can't be.
fn listen_or_say(resolver: &Resolver, heard: &Arc<Notify>, log: &Logger) -> Option<RecommendedWatcher> {
    let failed = |failure: &notify::Error| {
        info!(log, "no notice of changed files, looking at them each second"; "why" => %failure);
    };
    listen(resolver, heard).inspect_err(failed).ok()
}

/// Listens in the directories that hold the files: an editor replaces a file rather than writes it.
fn listen(resolver: &Resolver, heard: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let wake = heard.clone();
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| wake.notify_one())?;
    let directories: BTreeSet<_> = resolver.files().iter().filter_map(|file| file.parent()).collect();
    for directory in directories {
        // A directory that is not there is looked at each second.
        let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
    }
    Ok(watcher)
}

fn truth(answer: &Answer) -> Truth {
    match answer.verdict {
        Verdict::Yes => Truth::Yes,
        Verdict::No => Truth::No,
        Verdict::CouldNotAsk => Truth::CouldNotAsk(match answer.decided_by() {
            Some(step) => step.to_string().into(),
            None => "postfix configuration".into(),
        }),
    }
}

impl Source for Detected {
    fn name(&self) -> &str {
        "postfix"
    }

    fn domain(self: Arc<Self>, domain: Arc<[u8]>) -> BoxFuture<Truth> {
        let resolver = self.resolver();
        Box::pin(async move { truth(&resolver.is_local_domain(&domain).await) })
    }

    fn address(self: Arc<Self>, address: AddressKey) -> BoxFuture<Truth> {
        let resolver = self.resolver();
        Box::pin(async move { truth(&resolver.is_local_address(&address).await) })
    }

    fn delivery(self: Arc<Self>, recipient: AddressKey) -> BoxFuture<Truth> {
        let resolver = self.resolver();
        Box::pin(async move {
            // Without Postfix's configuration nobody knows which routes it follows.
            if resolver.configuration().is_none() && (is_routed(&recipient) || !recipient.has_domain()) {
                return match resolver.state() {
                    State::Faulty(_) => truth(&resolver.is_local_delivery(&recipient).await),
                    _ => Truth::No,
                };
            }
            truth(&resolver.is_local_delivery(&recipient).await)
        })
    }

    fn owners(self: Arc<Self>, sender: AddressKey) -> BoxFuture<Owners> {
        let resolver = self.resolver();
        Box::pin(async move {
            let owners = resolver.login_owners(&sender).await;
            owners.logins.map(Arc::from).ok_or_else(|| {
                let failure = owners.evidence.failure().map(ToString::to_string);
                Unavailable::new(failure.unwrap_or_else(|| "smtpd_sender_login_maps".to_owned()))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Answers;
    use crate::postfix_config::{LocalSettings, Sources};

    fn quiet() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    async fn until(local: &LocalQuestions, domain: &str, expected: Truth) {
        let answered = async {
            while local.domain(domain.as_bytes()).await != expected {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), answered).await.unwrap_or_else(|_| panic!("{domain}: {expected:?}"));
    }

    #[test]
    fn a_file_written_while_it_was_read_is_read_again() {
        let since = SystemTime::now();
        let look = |written| [(PathBuf::from("main.cf"), Some((written, 10, 1)))];
        assert!(may_be_missed(&look(since), since));
        assert!(may_be_missed(&look(since + Duration::from_millis(1)), since));
        assert!(!may_be_missed(&look(since - Duration::from_secs(1)), since));
        assert!(!may_be_missed(&[(PathBuf::from("main.cf"), None)], since));
    }

    #[test]
    fn an_edited_main_cf_counts_by_itself_and_a_faulty_one_leaves_the_old_in_force() {
        actix_rt::System::new().block_on(async {
            let directory = tempfile::tempdir().expect("a directory");
            let main_cf = directory.path().join("main.cf");
            std::fs::write(&main_cf, "myhostname = mx.a.example\nmydestination = a.example\n").expect("written");
            std::fs::write(directory.path().join("master.cf"), "").expect("written");
            let settings =
                postfix::Settings { config_directory: directory.path().to_owned(), ..postfix::Settings::default() };
            let detected = Detected::load(settings, &quiet()).await;
            let sources = Sources::new([detected.clone() as Arc<dyn Source>]);
            let local = LocalQuestions::start(LocalSettings { sources, ..LocalSettings::default() }, &quiet());
            let _guard = detected.follow(local.clone());
            assert_eq!(local.domain(b"a.example").await, Truth::Yes);
            assert_eq!(local.domain(b"b.example").await, Truth::No);

            std::fs::write(&main_cf, "myhostname = mx.a.example\nmydestination = b.example\n").expect("written");
            until(&local, "b.example", Truth::Yes).await;
            assert_eq!(local.domain(b"a.example").await, Truth::No);

            std::fs::write(&main_cf, "mydestination = ${broken\n").expect("written");
            std::fs::write(directory.path().join("master.cf"), "# another\n").expect("written");
            sleep(LOOK + SETTLE).await;
            assert_eq!(local.domain(b"b.example").await, Truth::Yes);

            // As an editor does it: a new file in the old one's place.
            let new = directory.path().join("main.cf.new");
            std::fs::write(&new, "mydestination = c.example\n").expect("written");
            std::fs::rename(&new, &main_cf).expect("renamed");
            until(&local, "c.example", Truth::Yes).await;
        });
    }
}
