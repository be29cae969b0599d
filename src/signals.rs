//! The signals the daemon knows, as a stream of orders.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM, SIGINT: finish the requests in hand and end. A second one: end at once.
    Stop,
    /// SIGHUP: read the configuration again, open the log file again.
    Reload,
    /// SIGUSR1: write the statistics to the log.
    Dump,
}

/// The signals. Several of one kind that come together count as one.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    /// Takes over the signals: from here on none of them ends the process by itself.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next one. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hangup.recv() => Order::Reload,
            _ = self.user.recv() => Order::Dump,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal as Number, raise};

    #[tokio::test]
    async fn each_signal_is_its_order() {
        let mut signals = Signals::take().unwrap();
        for (number, order) in [
            (Number::SIGHUP, Order::Reload),
            (Number::SIGUSR1, Order::Dump),
            (Number::SIGINT, Order::Stop),
            (Number::SIGTERM, Order::Stop),
        ] {
            raise(number).unwrap();
            assert_eq!(signals.next().await, order);
        }
    }
}
