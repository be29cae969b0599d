//! Requests as Postfix would send them, for populations of senders, recipients and clients.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context;

use super::options::Options;

/// An authenticated RCPT with the 29 attributes of Postfix 3.7.
const BUILTIN: &str = "request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address={client_address}
client_name={client_name}
client_port=49152
reverse_client_name={client_name}
server_address=192.0.2.25
server_port=25
helo_name={client_name}
sender={sender}
recipient={recipient}
recipient_count=0
queue_id=
instance={instance}
size=48213
etrn_domain=
stress=
sasl_method=plain
sasl_username={sasl_username}
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=submission
";

/// SplitMix64: all the randomness that a load needs, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Sender,
    Recipient,
    ClientAddress,
    ClientName,
    SaslUsername,
    Instance,
    QueueId,
    Random,
}

const SLOTS: [(&str, Slot); 8] = [
    ("{sender}", Slot::Sender),
    ("{recipient}", Slot::Recipient),
    ("{client_address}", Slot::ClientAddress),
    ("{client_name}", Slot::ClientName),
    ("{sasl_username}", Slot::SaslUsername),
    ("{instance}", Slot::Instance),
    ("{queue_id}", Slot::QueueId),
    ("{rand}", Slot::Random),
];

#[derive(Debug, Clone)]
enum Part {
    Text(Vec<u8>),
    Slot(Slot),
}

fn compile(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = template;
    let first = |text: &str| {
        SLOTS.iter().filter_map(|(name, slot)| Some((text.find(name)?, name.len(), *slot))).min_by_key(|hit| hit.0)
    };
    while let Some((at, length, slot)) = first(rest) {
        parts.push(Part::Text(rest[..at].into()));
        parts.push(Part::Slot(slot));
        rest = &rest[at + length..];
    }
    parts.push(Part::Text(rest.into()));
    parts
}

/// The message whose recipients a connection is at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message {
    sender: u64,
    client: u64,
    instance: u64,
    recipients_left: u32,
}

/// What all generators of a load share.
#[derive(Debug, Clone)]
pub struct Plan {
    templates: Arc<[Vec<Part>]>,
    /// Zipf's distribution function over the senders; empty: evenly.
    zipf: Arc<[f64]>,
    senders: u64,
    recipients: u64,
    clients: u64,
    recipients_per_message: u32,
}

impl Plan {
    /// Reads the templates and lays out the populations.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let mut templates = vec![];
        for path in &options.templates {
            templates.push(fs::read_to_string(path).with_context(|| format!("template {}", path.display()))?);
        }
        if templates.is_empty() {
            templates.push(BUILTIN.to_owned());
        }
        let templates = templates.iter().map(|text| compile(&format!("{}\n\n", text.trim_end_matches('\n')))).collect();
        let mut zipf = vec![];
        if options.zipf > 0.0 {
            let mut sum = 0.0;
            for rank in 1..=options.senders {
                sum += (rank as f64).powf(-options.zipf);
                zipf.push(sum);
            }
            zipf.iter_mut().for_each(|share| *share /= sum);
        }
        Ok(Self {
            templates,
            zipf: zipf.into(),
            senders: options.senders.max(1),
            recipients: options.recipients.max(1),
            clients: options.clients.max(1),
            recipients_per_message: options.recipients_per_message.max(1),
        })
    }
}

/// Writes one request after the other.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    random: Random,
    /// Distinguishes the instances of one generator from those of another.
    tag: u64,
    messages: u64,
}

impl Generator {
    /// The generator number `id` of a load with `seed`.
    pub fn new(plan: Plan, seed: u64, id: u64) -> Self {
        let random = Random::new(seed.wrapping_mul(7919).wrapping_add(id));
        Self { plan, random, tag: seed.wrapping_mul(31).wrapping_add(id) & 0xffff, messages: 0 }
    }

    /// What is drawn besides.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Writes the next request of `message` into `out`; a message that has had all its recipients becomes
    /// another one.
    pub fn write(&mut self, out: &mut Vec<u8>, message: &mut Message) {
        let plan = &self.plan;
        if message.recipients_left == 0 {
            self.messages += 1;
            let sender = if plan.zipf.is_empty() {
                self.random.below(plan.senders)
            } else {
                let unit = self.random.unit();
                plan.zipf.partition_point(|share| *share < unit).min(plan.zipf.len() - 1) as u64
            };
            *message = Message {
                sender,
                client: self.random.below(plan.clients),
                instance: (self.tag << 32) | (self.messages & 0xffff_ffff),
                recipients_left: plan.recipients_per_message,
            };
        }
        message.recipients_left -= 1;
        let Message { sender, client, instance, .. } = *message;
        let recipient = self.random.below(plan.recipients);
        let template = match plan.templates.len() {
            1 => 0,
            several => self.random.below(several as u64) as usize,
        };
        out.clear();
        for part in &plan.templates[template] {
            // Writing to a vector can't fail.
            let _ = match part {
                Part::Text(text) => out.write_all(text),
                Part::Slot(Slot::Sender) => write!(out, "user{sender}@dom{}.example.org", sender % 97),
                Part::Slot(Slot::SaslUsername) => write!(out, "user{sender}"),
                Part::Slot(Slot::Recipient) => write!(out, "rcpt{recipient}@dst{}.example.net", recipient % 31),
                Part::Slot(Slot::ClientAddress) => {
                    write!(out, "10.{}.{}.{}", (client >> 16) & 255, (client >> 8) & 255, client & 255)
                }
                Part::Slot(Slot::ClientName) => write!(out, "host{client}.client.example.com"),
                Part::Slot(Slot::Instance) => write!(out, "{:04x}.{:08x}.0", instance >> 32, instance & 0xffff_ffff),
                Part::Slot(Slot::QueueId) => write!(out, "{:010X}", instance & 0xff_ffff_ffff),
                Part::Slot(Slot::Random) => write!(out, "{:016x}", self.random.next()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use libvalvula::{Limits, Request};
    use structopt::StructOpt;

    use super::*;

    fn generator(flags: &[&str]) -> Generator {
        let options = Options::from_iter([&["policyload"], flags].concat());
        Generator::new(Plan::new(&options).expect("a plan"), options.seed, 0)
    }

    fn requests(generator: &mut Generator, count: usize) -> Vec<Request> {
        let (mut message, mut out) = (Message::default(), Vec::new());
        let one = |_| {
            generator.write(&mut out, &mut message);
            Request::parse(out.clone().into(), &Limits::default()).expect("well formed")
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn recipients_of_a_message_share_instance_and_sender() {
        let requests = requests(&mut generator(&["--rcpts-per-msg", "3"]), 9);
        let instances: HashSet<_> = requests.iter().map(|request| request.instance().to_vec()).collect();
        assert_eq!(instances.len(), 3);
        for message in requests.chunks(3) {
            assert!(message.iter().all(|request| request.instance() == message[0].instance()));
            assert!(message.iter().all(|request| request.sender() == message[0].sender()));
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_load() {
        let load = |seed| requests(&mut generator(&["--seed", seed]), 20);
        assert_eq!(load("1"), load("1"));
        assert_ne!(load("1"), load("2"));
    }

    #[test]
    fn populations_are_as_large_as_asked_for() {
        let requests = requests(&mut generator(&["--senders", "5", "--recipients", "7"]), 500);
        let distinct = |value: fn(&Request) -> &[u8]| requests.iter().map(value).collect::<HashSet<_>>().len();
        assert_eq!((distinct(Request::sender), distinct(Request::recipient)), (5, 7));
    }

    #[test]
    fn zipf_prefers_the_first() {
        let requests = requests(&mut generator(&["--zipf", "1.2", "--senders", "100"]), 1000);
        let first = requests.iter().filter(|request| request.sender() == b"user0@dom0.example.org").count();
        assert!((200..500).contains(&first), "{first} of 1000");
    }

    #[test]
    fn every_placeholder_is_filled() {
        let all: String = SLOTS.iter().map(|(name, _)| *name).collect();
        let generated = compile(&format!("helo_name={all}\n\n"));
        assert_eq!(generated.iter().filter(|part| matches!(part, Part::Slot(_))).count(), SLOTS.len());
        let text = String::from_utf8(requests(&mut generator(&[]), 1)[0].raw().to_vec()).expect("UTF-8");
        assert!(!text.contains('{') && text.lines().count() == 30, "{text}");
    }
}
