//! What the load generator is told.

use std::path::PathBuf;

use libvalvula::Endpoint;
use structopt::StructOpt;

/// Load generator for the Postfix policy protocol: one outstanding request on each connection.
#[derive(Debug, Clone, StructOpt)]
pub struct Options {
    /// host:port or unix:/path; may be repeated, connections take turns
    #[structopt(long = "addr", default_value = "127.0.0.1:10040", number_of_values = 1)]
    pub addresses: Vec<Endpoint>,
    /// Connections
    #[structopt(long = "conns", default_value = "16")]
    pub connections: usize,
    /// Threads of the generator
    #[structopt(long, default_value = "1")]
    pub threads: usize,
    /// Seconds that are measured; with --total the longest time it may take
    #[structopt(long = "secs", default_value = "3")]
    pub seconds: f64,
    /// Seconds of load before that
    #[structopt(long, default_value = "0.5")]
    pub warmup: f64,
    /// Open loop: so many requests a second in all, latency counted from the intended time of sending
    /// (corrected for coordinated omission); 0 is the closed loop
    #[structopt(long, default_value = "0")]
    pub rate: f64,
    /// Open loop with exponential gaps in place of even ones
    #[structopt(long)]
    pub poisson: bool,
    /// File with the text of a request; may be repeated, one is drawn for each request. Placeholders: {sender} {recipient}
    /// {client_address} {client_name} {sasl_username} {instance} {queue_id} {rand}. Absent: an
    /// authenticated RCPT with the attributes of Postfix 3.7
    #[structopt(long = "template", number_of_values = 1)]
    pub templates: Vec<PathBuf>,
    /// Population of senders and SASL users
    #[structopt(long, default_value = "1000")]
    pub senders: u64,
    /// Population of recipients
    #[structopt(long, default_value = "10000")]
    pub recipients: u64,
    /// Population of client addresses
    #[structopt(long, default_value = "1000")]
    pub clients: u64,
    /// Senders are drawn by Zipf's law with this exponent; 0: evenly
    #[structopt(long, default_value = "0")]
    pub zipf: f64,
    /// So many requests of a connection share instance and sender
    #[structopt(long = "rcpts-per-msg", default_value = "1")]
    pub recipients_per_message: u32,
    /// Closes and opens a connection anew after so many requests; 0: never
    #[structopt(long, default_value = "0")]
    pub reconnect_every: u64,
    /// Sends each request in pieces of so many bytes, one write each; 0: whole
    #[structopt(long, default_value = "0")]
    pub fragment: usize,
    /// Stops after so many requests in all, each of which is counted; 0: by time
    #[structopt(long, default_value = "0")]
    pub total: u64,
    /// Closed loop: each connection pauses so many microseconds after an answer
    #[structopt(long, default_value = "0")]
    pub think_us: u64,
    /// Only opens the connections, says what memory they take, holds them for --secs
    #[structopt(long)]
    pub idle: bool,
    /// Like --idle, after one request on each
    #[structopt(long)]
    pub idle_warm: bool,
    /// Process of the server, whose CPU, context switches and memory are reported; may be repeated
    #[structopt(long = "pid", number_of_values = 1)]
    pub pids: Vec<u32>,
    /// Counts whole answers, not only their first word
    #[structopt(long)]
    pub full_actions: bool,
    /// An answer whose first word is another one is an error
    #[structopt(long)]
    pub expect: Option<String>,
    /// Seed of what is drawn: the same one sends the same messages again, which a server that counts may know
    #[structopt(long, default_value = "1")]
    pub seed: u64,
    /// One line of JSON in place of text
    #[structopt(long)]
    pub json: bool,
    /// Prints one request as it would be sent, and ends
    #[structopt(long)]
    pub print_request: bool,
}
