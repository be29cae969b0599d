//! `[postfix] domains_query` and `addresses_query`: what is local by rows of a database.
//!
//! A row is a yes, no row is a no, a database that does not answer is "could not ask", said once in the
//! log when that begins and once when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libvalvula::AddressKey;
use postfix::{Resolver, Verdict, spellings};
use slog::{Logger, info, warn};

use super::sources::Source;
use crate::database::{DatabaseUrl, ReadOnly, Template};
use crate::local::Truth;
use crate::module::BoxFuture;
use crate::settings::Section;

/// What a query has in place of the name that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name;

/// The settings: at least one query.
#[derive(Debug, Clone)]
pub struct QuerySettings {
    url: DatabaseUrl,
    domains: Option<Template<Name>>,
    addresses: Option<Template<Name>>,
    timeout: Duration,
}

impl QuerySettings {
    /// Reads `query_url`, `domains_query` and `addresses_query` of `[postfix]`; `None` when there is no query.
    /// Without `query_url` the database at `own` is asked. Faults go to the section.
    pub fn read(section: &mut Section, own: &DatabaseUrl, timeout: Duration) -> Option<Self> {
        let url = match section.value::<String>("query_url").map(|url| url.parse()) {
            Some(Ok(url)) => url,
            Some(Err(fault)) => {
                section.fault("query_url", fault);
                own.clone()
            }
            None => own.clone(),
        };
        let asked = section.has("domains_query") || section.has("addresses_query");
        let domains = query(section, "domains_query", "domain");
        let addresses = query(section, "addresses_query", "address");
        if section.has("query_url") && !asked {
            section.fault("query_url", "nothing is asked there: expected domains_query or addresses_query beside it");
        }
        (domains.is_some() || addresses.is_some()).then_some(Self { url, domains, addresses, timeout })
    }

    /// Whether addresses are asked for, and not only domains.
    pub fn lists_addresses(&self) -> bool {
        self.addresses.is_some()
    }
}

fn query(section: &mut Section, key: &str, name: &'static str) -> Option<Template<Name>> {
    let text: String = section.value(key)?;
    let fault = match Template::parse(&text, &[(name, Name)]) {
        Ok(_) if !is_question(&text) => "expected a SELECT: nothing is changed there".to_owned(),
        Ok(query) if query.placeholders().is_empty() => {
            format!("expected #{name}# in it, in place of the {name} that is asked for")
        }
        Ok(query) => return Some(query),
        Err(fault) => fault,
    };
    section.fault(key, fault);
    None
}

fn is_question(text: &str) -> bool {
    let first = text.split(|c: char| c.is_whitespace() || c == '(').find(|word| !word.is_empty());
    first.is_some_and(|word| ["select", "with", "values", "table"].iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// The source.
pub struct Queries {
    settings: QuerySettings,
    database: ReadOnly,
    /// Postfix's configuration as it is now: what an extension is, and which domains it knows itself.
    resolver: Box<dyn Fn() -> Arc<Resolver> + Send + Sync>,
    /// Whether the last question could not be asked.
    away: AtomicBool,
    log: Logger,
}

impl Queries {
    /// Asks by `settings`; `resolver` gives Postfix's configuration as it is when a question is asked.
    pub fn new(
        settings: QuerySettings,
        resolver: impl Fn() -> Arc<Resolver> + Send + Sync + 'static,
        log: &Logger,
    ) -> Self {
        let database = ReadOnly::new(settings.url.clone(), settings.timeout);
        Self { settings, database, resolver: Box::new(resolver), away: AtomicBool::new(false), log: log.clone() }
    }

    /// Is there a row for one of `names`? Names that are not UTF-8 stand in no table of texts.
    async fn ask(&self, query: &Template<Name>, names: &[Vec<u8>]) -> Truth {
        for name in names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
            let answer = self.database.has_row(query, name).await;
            let was_away = self.away.swap(answer.is_err(), Ordering::Relaxed);
            match answer {
                Ok(found) => {
                    if was_away {
                        info!(self.log, "database of local names answers again"; "database" => %self.database.url());
                    }
                    if found {
                        return Truth::Yes;
                    }
                }
                Err(why) => {
                    let database = self.database.url();
                    if !was_away {
                        warn!(self.log, "database of local names could not be asked"; "database" => %database, "error" => &why);
                    }
                    return Truth::CouldNotAsk(format!("{}: {database}: {why}", self.name()).into());
                }
            }
        }
        Truth::No
    }

    async fn has_domain(&self, domain: &[u8]) -> Truth {
        match &self.settings.domains {
            Some(query) => self.ask(query, &spellings(domain)).await,
            None => Truth::No,
        }
    }

    async fn has_address(&self, address: &AddressKey) -> Truth {
        if !address.has_domain() || address.local_part().is_empty() {
            return Truth::No;
        }
        let resolver = (self.resolver)();
        let Some(query) = &self.settings.addresses else {
            return self.has_all_of(&resolver, address.domain()).await;
        };
        let plain = address.without_extension(resolver.recipient_delimiter());
        let mut names = Vec::new();
        for domain in spellings(address.domain()) {
            names.push([address.local_part(), b"@", &domain].concat());
            if plain != *address {
                names.push([plain.local_part(), b"@", &domain].concat());
            }
        }
        self.ask(query, &names).await
    }

    /// Where nothing lists addresses, all of a domain that nobody else knows exist: as with `local_domains`.
    async fn has_all_of(&self, resolver: &Resolver, domain: &[u8]) -> Truth {
        if resolver.lists_addresses() {
            return Truth::No;
        }
        match self.has_domain(domain).await {
            Truth::Yes => {}
            other => return other,
        }
        let known = resolver.is_local_domain(domain).await;
        match known.verdict {
            Verdict::No => Truth::Yes,
            // Postfix's maps say which of its addresses exist.
            Verdict::Yes => Truth::No,
            Verdict::CouldNotAsk => Truth::CouldNotAsk(known.to_string().into()),
        }
    }
}

impl Source for Queries {
    fn name(&self) -> &str {
        "database query"
    }

    fn place(&self) -> String {
        self.database.url().to_string()
    }

    fn domain(self: Arc<Self>, domain: Arc<[u8]>) -> BoxFuture<Truth> {
        Box::pin(async move { self.has_domain(&domain).await })
    }

    fn address(self: Arc<Self>, address: AddressKey) -> BoxFuture<Truth> {
        Box::pin(async move { self.has_address(&address).await })
    }
}

#[cfg(test)]
#[path = "queries_tests.rs"]
mod tests;
